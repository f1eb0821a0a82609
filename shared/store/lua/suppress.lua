-- allow-oom: whoever must not be written to must not be, whatever else is full.
-- SUPPRESS: a reason that stands there stays; what happened before somebody lifted it is over.
-- KEYS suppression lifted   ARGV reason source at_ms (0: now)      1: from now on; 0: nothing new
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
return is_new
