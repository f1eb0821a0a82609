"""An own sentence that cannot be filled is counted, logged, and told by `status` and /metrics."""

from structlog.testing import capture_logs

from shared.errors import StoreUnavailableError
from shared.messages.unfilled import count_unfilled
from shared.wiring import build_services
from tests.support.builders import a_settings
from tests.support.fakes import FakeHints
from web.admin.alerts import find_alerts
from web.admin.status import load_status
from web.monitoring.metrics import render_metrics
from web.services import build_web_services


def test_status_and_metrics_tell_of_it(fake_client):
    services = build_web_services(
        build_services(a_settings(), client=fake_client, hints=FakeHints())
    )
    services.samples.take()

    with capture_logs() as lines:
        for key in ("reset.intro", "reset.intro", "sms.reset"):
            count_unfilled(services.counters)("or:g", "pt-BR", key)

    alerts = [each for each in find_alerts(load_status(services)) if "own texts" in each]
    assert len(alerts) == 1
    assert alerts[0].startswith("3 sentences of or:g's own texts in pt-BR could not be filled")
    name = 'keyturn_texts_unfilled_total{language="pt-BR",organisation="or:g"} 3.0'
    assert name in render_metrics(services).decode()
    told = [line["key"] for line in lines if line["event"] == "text.unfilled"]
    assert told == ["reset.intro", "reset.intro", "sms.reset"]


def test_a_message_does_not_wait_for_redis_to_count():
    class Away:
        asked = 0

        def add(self, name):
            self.asked += 1
            raise StoreUnavailableError

    away = Away()
    count_unfilled(away)("acme", "de", "reset.intro")

    assert away.asked == 1
