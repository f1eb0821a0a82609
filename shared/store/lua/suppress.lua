-- allow-oom: whoever must not be written to must not be, whatever else is full.
-- SUPPRESS: a reason that stands there stays. KEYS suppression   ARGV reason source
local now = int(math.floor(now_us() / 1000))
for field, value in pairs({reason = ARGV[1], source = ARGV[2], since = now}) do
  redis.call('HSETNX', KEYS[1], field, value)
end
return 1
