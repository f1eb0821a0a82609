-- allow-oom: what is told gives memory back.
-- CLAIM: the webhook of a subscription that has been due longest; its lease is "due later".
-- KEYS due   ARGV record_prefix lease_ms
-- {member, fence, tries, told, now_ms} or {}
local now = math.floor(now_us() / 1000)
for _ = 1, 100 do
  local member = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, 1)[1]
  if not member then return {} end
  local told = redis.call('HGET', ARGV[1] .. member, 'd')
  if told then
    redis.call('ZADD', KEYS[1], int(now + tonumber(ARGV[2])), member)
    return {member, redis.call('HINCRBY', ARGV[1] .. member, 'f', 1),
            redis.call('HINCRBY', ARGV[1] .. member, 'n', 1), told, int(now)}
  end
  redis.call('ZREM', KEYS[1], member)  -- its time is over
end
return {}
