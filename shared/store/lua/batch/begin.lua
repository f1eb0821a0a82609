-- Create a batch; repeating the same call changes nothing.
-- KEYS batch active all    ARGV id mark by reason life_ms then field, value …
-- 'begun', 'known', or 'other': the id belongs to another batch
local mark = redis.call('HGET', KEYS[1], 'mk')
if mark then return mark == ARGV[2] and 'known' or 'other' end
local now = int(math.floor(now_us() / 1000))
redis.call('HSET', KEYS[1], 'mk', ARGV[2], 'by', ARGV[3], 'rs', ARGV[4], 'lf', ARGV[5], 'c', now,
           'cu', 0, 'co', 0, 'fe', 0, 'lu', 0, 'q', 0, unpack(ARGV, 6))
if redis.call('HGET', KEYS[1], 'st') == 'running' then redis.call('HSET', KEYS[1], 's', now) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('SADD', KEYS[2], ARGV[1])
for _, other in ipairs(redis.call('ZRANGE', KEYS[3], 0, 1)) do
  if redis.call('EXISTS', string.match(KEYS[1], '^.*batch:') .. other) == 0 then
    redis.call('ZREM', KEYS[3], other)
  end
end
redis.call('ZADD', KEYS[3], now, ARGV[1])
return 'begun'
