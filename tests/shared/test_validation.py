"""One function reads a moment, wherever it is written."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.validation import format_timestamp, parse_timestamp, phone

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T12:00:00Z", NOON),
        ("2026-11-23t12:00:00z", NOON),
        ("2026-11-23 12:00:00Z", NOON),
        ("2026-11-23T12:00:00-00:00", NOON),
        ("2026-11-23T17:45:00+05:45", NOON),
        ("2026-11-22T12:01:00-23:59", NOON),
        *(
            (f"2026-11-23T12:00:00.{'123456789'[:digits]}Z", NOON + timedelta(microseconds=cut))
            for digits, cut in enumerate(
                (100000, 120000, 123000, 123400, 123450, 123456, 123456, 123456, 123456), start=1
            )
        ),
        ("2026-11-23T11:59:60Z", NOON - timedelta(microseconds=1)),
        ("2026-11-23t11:59:60.25z", NOON - timedelta(microseconds=1)),
        ("2016-12-31T18:59:60-05:00", datetime(2016, 12, 31, 23, 59, 59, 999999, UTC)),
        ("2028-02-29T00:00:00Z", datetime(2028, 2, 29, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", datetime.min.replace(tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime.max.replace(tzinfo=UTC)),
    ],
)
def test_a_moment_of_rfc_3339_is_read_in_utc(text, moment):
    read = parse_timestamp(text)

    assert read == moment
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-23",
        "2026-11-23T12:00:00",  # no zone: whose noon?
        "2026-11-23T12:00Z",
        "2026-11-23T12:00:00.Z",
        "2026-11-23T12:00:00,5Z",
        "2026-11-23T12:00:00+01",
        "2026-11-23T12:00:00+0100",
        "2026-11-23T12:00:00+01:00:30",
        "2026-11-23T12:00:00+24:00",
        "2026-11-23T12:00:00+00:60",
        "2026-11-23T24:00:00Z",
        "2026-11-23T12:60:00Z",
        "2026-11-23T12:00:61Z",
        "2026-02-29T12:00:00Z",
        "20261123T120000Z",
        "2026-W48-1T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "10000-01-01T00:00:00Z",
        "-2026-11-23T12:00:00Z",
        "٢٠٢٦-11-23T12:00:00Z",
        "2026-11-23T12:00:00Z\n",
        " 2026-11-23T12:00:00Z",
    ],
)
def test_what_is_no_moment_of_rfc_3339_is_refused(text):
    with pytest.raises(ValueError, match="must be a moment such as 2026-11-23T12:00:00Z"):
        parse_timestamp(text)


def test_a_moment_is_written_in_utc_to_the_microsecond():
    there = NOON.astimezone(timezone(timedelta(hours=-3)))

    assert format_timestamp(there) == "2026-11-23T12:00:00.000000Z"
    assert format_timestamp(there, precision="milliseconds") == "2026-11-23T12:00:00.000Z"
    assert format_timestamp(None) is None
    assert parse_timestamp(format_timestamp(NOON) or "") == NOON


@pytest.mark.parametrize("text", ["+440 0940 09 1 177", "+4400 1 23 45 67 89 0"])
def test_a_phone_number_that_reads_as_another_is_refused(text):
    with pytest.raises(ValueError, match="must be a phone number"):
        phone(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("+44 (0)20 7946 0958", "+442079460958"), ("+39 06 6982 1234", "+390669821234")],
)
def test_a_phone_number_is_read_as_people_write_it(text, number):
    assert phone(text) == number
    assert phone(number) == number
