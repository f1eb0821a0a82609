-- allow-oom: a suppression must hold even on a full server.
-- Suppress a recipient; keep an existing reason, and ignore events from before the last lifting.
-- KEYS suppression lifted index   ARGV reason source at_ms (0: now) digest
-- 1: new; 0: nothing changed
local now = math.floor(now_us() / 1000)
local at = tonumber(ARGV[3])
if at == 0 then
  at = now
elseif at <= tonumber(redis.call('GET', KEYS[2]) or '-1') then
  return 0
end
local is_new = redis.call('HSETNX', KEYS[1], 'reason', ARGV[1])
redis.call('HSETNX', KEYS[1], 'source', ARGV[2])
redis.call('HSETNX', KEYS[1], 'since', int(math.min(at, now)))
redis.call('ZADD', KEYS[3], 'NX', int(math.min(at, now)), ARGV[4])
return is_new
