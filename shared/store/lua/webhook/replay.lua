-- Make dead webhooks of a subscription due again, with all their tries, oldest first.
-- KEYS dead due   ARGV record_prefix max      how many
local now, number = math.floor(now_us() / 1000), 0
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now - WEBHOOK_MS))
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, tonumber(ARGV[2]) - 1)) do
  local webhook = ARGV[1] .. member
  redis.call('ZREM', KEYS[1], member)
  if redis.call('EXISTS', webhook) == 1 then
    redis.call('HSET', webhook, 'n', 0)
    redis.call('PEXPIRE', webhook, WEBHOOK_MS)
    redis.call('ZADD', KEYS[2], int(now), member)
    redis.call('PEXPIRE', KEYS[2], WEBHOOK_MS)
    number = number + 1
  end
end
return number
