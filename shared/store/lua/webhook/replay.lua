-- Make dead webhooks of a subscription due again, with all their tries, oldest first.
-- KEYS dead due   ARGV record_prefix max      how many
local now, number = math.floor(now_us() / 1000), 0
local _, keep_ms = subscribed(string.sub(KEYS[1], 1, 7), '')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now - keep_ms))
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)) do
  local webhook = ARGV[1] .. member
  redis.call('ZREM', KEYS[1], member)
  if redis.call('EXISTS', webhook) == 1 then
    redis.call('HSET', webhook, 'n', 0)
    redis.call('PEXPIRE', webhook, int(keep_ms))
    redis.call('ZADD', KEYS[2], int(now), member)
    redis.call('PEXPIRE', KEYS[2], int(keep_ms))
    number = number + 1
  end
end
return number
