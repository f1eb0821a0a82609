-- allow-oom: a finished webhook frees memory.
-- Store the outcome of a try. A stale fence changes nothing; repeating changes nothing.
-- KEYS webhook due dead m   ARGV member fence what delay_ms answer      what: told, again, dead
local what = ARGV[3]
if redis.call('HGET', KEYS[1], 'f') ~= ARGV[2] then return 0 end
local now = math.floor(now_us() / 1000)
redis.call('HINCRBY', KEYS[4], 'w:' .. what, 1)
if what == 'told' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
redis.call('HINCRBY', KEYS[1], 'f', 1)
redis.call('HSET', KEYS[1], 'e', ARGV[5])
redis.call('PEXPIRE', KEYS[1], WEBHOOK_MS)
if what == 'again' then
  redis.call('ZADD', KEYS[2], int(now + tonumber(ARGV[4])), ARGV[1])
  redis.call('PEXPIRE', KEYS[2], WEBHOOK_MS)
else
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', int(now - WEBHOOK_MS))
  redis.call('ZADD', KEYS[3], int(now), ARGV[1])
  redis.call('PEXPIRE', KEYS[3], WEBHOOK_MS)
end
return 1
