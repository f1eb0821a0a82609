"""Name every key, with its lifetime. One shard is one hash tag, so one cluster slot.

A reset's id begins with its shard, so every key of a reset follows from its id alone.
Source: docs/decisions/0033-redis-beyond-one-machine.md
"""

from __future__ import annotations

import base64
from functools import cache

# The slots of these lie evenly: of n nodes with equal ranges, none has more than its share of them.
# Found by search, the word nearest to the middle of each 64th; tests/shared/store/test_keys.py.
WORDS = (
    "is 2o fc fk m3 1b zr ef 4t oh 4e g5 7y le d0 8a xq ge o0 3a ka dh "
    "kp 0l f3 av 5z nf bs 9o 6w mk ww hc xg xo 0r kn dv c3 i5 5d y9 y1 "
    "j8 6i z4 bm a8 ya 2q im b5 zl r9 r1 x7 ps ov 4j ck cc k6 7g"
)
TAGS = tuple(f"{{kt:{word}}}" for word in WORDS.split())
SHARDS = len(TAGS)
# A reset's id is one of the first signs and 26 of the second, which are Base32; its first two are
# its shard: the first four bits of it, and two at the beginning of the next five.
ID_SIGNS, ID_LETTERS = "0123456789abcdef", "abcdefghijklmnopqrstuvwxyz234567"
_SHARDS = {
    sign + letter: 4 * number + index // 8
    for number, sign in enumerate(ID_SIGNS)
    for index, letter in enumerate(ID_LETTERS)
}
ID_LENGTH, ID_BYTES = 27, 16  # signs; random bytes in them
LAYOUT = ("layout", "2")  # in the seal; raise it when stores of before can no longer be read

TOKEN_PREFIX = "kt_pat_"  # noqa: S105 - what a token begins with, not a token


def make_reset_id(shard: int, random_bytes: bytes) -> str:
    """Return the id of a reset in a shard."""
    bits = (shard % 4) << 8 * ID_BYTES | int.from_bytes(random_bytes)
    text = base64.b32encode((bits << 6).to_bytes(ID_BYTES + 1)).decode()
    return ID_SIGNS[shard // 4] + text[: ID_LENGTH - 1].lower()


def find_shard(reset_id: str) -> int:
    """Return the shard of a reset; -1 if the id is malformed."""
    return _SHARDS.get(reset_id[:2], -1)


def tag_of(reset_id: str) -> str:
    """Return the hash tag of a reset.

    Raises:
        ValueError: the id is malformed.
    """
    try:
        return TAGS[_SHARDS[reset_id[:2]]]
    except KeyError:
        raise ValueError("no id of a reset") from None


def tag_of_digest(digest: str) -> str:
    """Return the hash tag of a user's or a recipient's shard, by its digest."""
    return TAGS[int(digest[:2] or "0", 16) % SHARDS]


def reset(reset_id: str) -> str:
    """HASH, one reset; lives until its record lifetime after it became final."""
    return f"{tag_of(reset_id)}:r:{reset_id}"


@cache
def due(tag: str, queue: str) -> str:
    """ZSET, id → next look in ms. An id is here exactly while its reset is not final."""
    return f"{tag}:due:{queue}"


def user(tag: str, user_digest: str) -> str:
    """HASH, sequence, cool-down, last resets of one user; for ever, for sequences never restart."""
    return f"{tag}:u:{user_digest}"


def older(tag: str, user_digest: str) -> str:
    """ZSET, id → moment of record in ms: a user's notices, older resets; as long as records."""
    return f"{tag}:older:{user_digest}"


def told(tag: str, user_digest: str) -> str:
    """ZSET, `<subscription>:<member>` → moment in ms: webhooks about a user; as long as they."""
    return f"{tag}:told:{user_digest}"


def requests(tag: str, user_digest: str) -> str:
    """ZSET, id → moment in ms: what counts toward a user's hour and day; one day."""
    return f"{tag}:req:{user_digest}"


def guesses(tag: str, user_digest: str) -> str:
    """HASH, user and source → tries of typed codes; 15 minutes. All users share 4 a shard."""
    bucket = user_digest[0]
    return f"{tag}:guess:{bucket}"


def made(tag: str, bucket: int) -> str:
    """LIST, ids as recorded, ten minutes a key; longer than their records."""
    return f"{tag}:made:{bucket}"


def refusals(tag: str, user_digest: str) -> str:
    """LIST, why a user's last refused requests were refused; as long as records."""
    return f"{tag}:no:{user_digest}"


@cache
def counters(tag: str) -> str:
    """HASH, what was counted since the beginning, for /metrics; for ever."""
    return f"{tag}:m"


def confirmed(tag: str) -> str:
    """STRING, written so that what was written before it can be waited for; for ever."""
    return f"{tag}:confirmed"


def batch_ends(tag: str, batch_id: str) -> str:
    """HASH, `status:reason` → how many resets of a batch ended so; a week longer than records."""
    return f"{tag}:b:{batch_id}"


def receipts(tag: str) -> str:
    """LIST, providers' reports that no worker has applied yet; until applied."""
    return f"{tag}:receipts"


def subscribed(tag: str) -> str:
    """HASH, organisation → its subscriptions; '' → the version of the list. For ever."""
    return f"{tag}:subscribed"


def webhook(tag: str, subscription_id: str, member: str) -> str:
    """HASH, one webhook, by subscription and `<reset id>:<word>`; 14 days, or until delivered."""
    return f"{tag}:wh:{subscription_id}:{member}"


def webhooks_due(tag: str, subscription_id: str) -> str:
    """ZSET, member → next try in ms: a subscription's pending webhooks; 14 days."""
    return f"{tag}:whd:{subscription_id}"


def webhooks_dead(tag: str, subscription_id: str) -> str:
    """ZSET, member → moment in ms: a subscription's dead webhooks, until replayed; 14 days."""
    return f"{tag}:whx:{subscription_id}"


def webhook_answers(tag: str, subscription_id: str) -> str:
    """LIST, how the last ten tries of a subscription in this shard ended; 14 days."""
    return f"{tag}:answers:{subscription_id}"


GATE = "{kt:gate}"  # counters of organisations and callers, versions: one slot


def window(kind: str, digest: str) -> str:
    """STRING, calls counted in a running window; as long as the window."""
    return f"{GATE}:n:{kind}:{digest}"


def tried(user_digest: str) -> str:
    """SET, callers that tried passwords of a user; as long as the window of the last."""
    return f"{GATE}:tried:{user_digest}"


def erasing(digest: str) -> str:
    """STRING, who erases this user, address or organisation just now; a minute."""
    return f"{GATE}:erasing:{digest}"


def counted(reset_id: str) -> str:
    """STRING, the gate has counted this reset of an Idempotency-Key; a minute."""
    return f"{GATE}:once:{reset_id}"


def sms_subject(subject: str) -> str:
    """HASH, codes sent to a prefix, or for a source, and used; what has tripped; 30 days."""
    return f"{GATE}:sms:{subject}"


def sms_mark(recipient_digest: str) -> str:
    """STRING, an SMS to this recipient was counted, when and for which source; a code's life."""
    return f"{GATE}:smsto:{recipient_digest}"


def suppression(recipient_digest: str) -> str:
    """HASH, why a recipient is not written to; for ever."""
    return f"{tag_of_digest(recipient_digest)}:sup:{recipient_digest}"


def suppressions(tag: str) -> str:
    """ZSET, digest of a suppressed recipient → since when, in ms; as they."""
    return f"{tag}:suppressions"


def batch(batch_id: str) -> str:
    """HASH, one batch: what was requested, its progress; as long as its list."""
    return f"{GATE}:batch:{batch_id}"


def batch_list(list_id: str, number: int) -> str:
    """STRING, up to 500 users of a batch, a line each; a week longer than records and the pace."""
    return f"kt:list:{list_id}:{number}"


def batch_skips(batch_id: str, number: int) -> str:
    """HASH, index in that list → why the user was skipped; as long as the list."""
    return f"kt:skips:{batch_id}:{number}"


def batch_seen(batch_id: str, number: int) -> str:
    """HASH, number of a user → where the batch's list names it first; as long as the list."""
    return f"kt:seen:{batch_id}:{number}"


BATCHES = f"{GATE}:batches:all"  # ZSET, batch id → when it began in ms; as long as batches
ACTIVE_BATCHES = f"{GATE}:batches"  # SET, batches that are worked on; until they end


def circuit(provider: str) -> str:
    """HASH, a provider's calls of the last half minute and whether its circuit is open; a day."""
    return f"{GATE}:circuit:{provider}"


def lifted(recipient_digest: str) -> str:
    """STRING, when a suppression was lifted, in ms: reports from before are over; 30 days."""
    return f"{tag_of_digest(recipient_digest)}:lifted:{recipient_digest}"


def console_link(secret_digest: str) -> str:
    """STRING, the sealed token that a link of the console signs in with, once."""
    return f"{GATE}:link:{secret_digest}"


SMS_NAMED = f"{GATE}:smsnamed"  # HASH, prefix → allowed or blocked by whom, why; until lifted
SMS_STATES = f"{GATE}:smsstates"  # ZSET, prefix or source → until when a rule holds it; a day
SMS_TOTALS = f"{GATE}:smstotals"  # HASH, how often each rule of SMS met a message; for ever
VERSION = f"{GATE}:version"  # STRING, counts changes of callers and organisations; for ever
AUDIT = f"{GATE}:audit"  # STREAM, who changed what by hand; its last hundred thousand
AUDIT_HEAD = f"{GATE}:audit:head"  # STRING, number, id, digest, seal of the newest; for ever
AUDIT_FREQUENT = f"{GATE}:audit:frequent"  # STREAM, the acts that programs repeat; as many
AUDIT_FREQUENT_HEAD = f"{GATE}:audit:frequent:head"  # STRING, as AUDIT_HEAD; for ever
AUDIT_REWRITTEN = f"{GATE}:audit:rewritten"  # STREAM, a copy with entries redacted; a moment
PAUSES = f"{GATE}:pauses"  # HASH, scope:name → who paused it, why, since when; until resumed
RELEASES = f"{GATE}:releases"  # HASH, scope:name → what is let go after a pause; until all of it is
FORGOT = f"{GATE}:forgot"  # ZSET, sealed request of a person who forgot → next look in ms
SAMPLES = f"{GATE}:samples"  # LIST, the counters at moments of the last six minutes; as long
SAMPLED = f"{GATE}:sampled"  # STRING, a sample was taken just now; seconds
RELEASER = f"{GATE}:releaser"  # STRING, the worker that lets go now; seconds
SUBSCRIPTIONS = f"{GATE}:hooks"  # HASH, subscription id → what is known of it; until removed
SUBSCRIPTIONS_VERSION = f"{GATE}:hooks:version"  # STRING, counts their changes; for ever
WORKERS = f"{GATE}:workers"  # ZSET, worker → moment last seen in ms; trimmed on each sighting
SEAL = f"{GATE}:seal"  # HASH, signing key id → the sealed digest key; for ever
TOKENS = "kt:tokens"  # HASH, token id → token digest; for ever
ORGANISATIONS = "kt:orgs"  # SET, organisation ids; for ever
SENDERS = "kt:senders"  # SET, ids of organisations with a sender of their own


def token(token_digest: str) -> str:
    """HASH, one caller; until removed."""
    return f"kt:token:{token_digest}"


def organisation(org_id: str) -> str:
    """HASH, one organisation; until removed."""
    return f"kt:org:{org_id}"


def profile(org_id: str) -> str:
    """HASH, branding and texts of an organisation, in its slot; until removed."""
    return f"{{kt:org:{org_id}}}:profile"


def text_history(org_id: str) -> str:
    """LIST, the last fifty versions of an organisation's texts; until removed."""
    return f"{{kt:org:{org_id}}}:texts"


def members(org_id: str) -> str:
    """SET, ids of the built-in directory's users of an organisation."""
    return f"kt:members:{org_id}"


def directory_user(user_id: str) -> str:
    """HASH, one user of the built-in directory: the only key with addresses."""
    return f"kt:user:{user_id}"


FORMER_EMAILS = "kt:former"  # ZSET, user id → moment in ms when its former addresses are forgotten


def directory_address(digest_start: str) -> str:
    """SET, more of the digest and the id of a user with an address or a name; one of 32,768."""
    return f"kt:addr:{digest_start}"


def idempotency(digest: str) -> str:
    """HASH, what a caller's Idempotency-Key was used for; 24 hours."""
    return f"kt:idem:{digest}"
