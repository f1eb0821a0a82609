-- allow-oom: a finished webhook frees memory; of answers ten are kept.
-- Store the outcome of a try. A stale fence changes nothing; repeating changes nothing.
-- KEYS webhook due dead m answers   ARGV member fence what delay_ms answer
-- what: told, again, dead
local what = ARGV[3]
if redis.call('HGET', KEYS[1], 'f') ~= ARGV[2] then return 0 end
local now = math.floor(now_us() / 1000)
redis.call('HINCRBY', KEYS[4], 'w:' .. what, 1)
local _, keep_ms = subscribed(string.sub(KEYS[1], 1, 7), '')
local event = string.sub(ARGV[1], string.find(ARGV[1], ':', 1, true) + 1)
local tries = redis.call('HGET', KEYS[1], 'n')
redis.call('LPUSH', KEYS[5], table.concat({int(now), what, tries, event, ARGV[5]}, ' '))
redis.call('LTRIM', KEYS[5], 0, 9)
redis.call('PEXPIRE', KEYS[5], int(keep_ms))
if what == 'told' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
redis.call('HINCRBY', KEYS[1], 'f', 1)
redis.call('HSET', KEYS[1], 'e', ARGV[5])
redis.call('PEXPIRE', KEYS[1], int(keep_ms))
if what == 'again' then
  redis.call('ZADD', KEYS[2], int(now + tonumber(ARGV[4])), ARGV[1])
  redis.call('PEXPIRE', KEYS[2], int(keep_ms))
else
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', int(now - keep_ms))
  redis.call('ZADD', KEYS[3], int(now), ARGV[1])
  redis.call('PEXPIRE', KEYS[3], int(keep_ms))
end
return 1
