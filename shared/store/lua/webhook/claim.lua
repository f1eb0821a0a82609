-- allow-oom: a delivered webhook frees memory.
-- Claim the webhook of a subscription that has been due longest; the lease is a later due time.
-- KEYS due   ARGV record_prefix lease_ms
-- {member, fence, tries, payload, now_ms} or {}
local us = now_us()
local now = math.floor(us / 1000)
for _ = 1, 100 do
  local member = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, 1)[1]
  if not member then return {} end
  local payload = redis.call('HGET', ARGV[1] .. member, 'd')
  if payload then
    redis.call('ZADD', KEYS[1], int(now + tonumber(ARGV[2])), member)
    local fence = next_fence(redis.call('HGET', ARGV[1] .. member, 'f'), us)
    redis.call('HSET', ARGV[1] .. member, 'f', fence)
    return {member, tonumber(fence), redis.call('HINCRBY', ARGV[1] .. member, 'n', 1), payload, int(now)}
  end
  redis.call('ZREM', KEYS[1], member)  -- it has expired
end
return {}
