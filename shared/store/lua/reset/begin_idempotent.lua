-- Bind an Idempotency-Key to a request and count one try; a try that succeeds stays counted.
-- KEYS idem   ARGV mark lifetime_ms      the moment since when it is bound, '' for another request
local h = redis.call('HMGET', KEYS[1], 'mark', 'since')
if h[1] and h[1] ~= ARGV[1] then return '' end
local since = h[2] or int(now_us())
if not h[1] then
  redis.call('HSET', KEYS[1], 'mark', ARGV[1], 'since', since, 'tries', 0)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
redis.call('HINCRBY', KEYS[1], 'tries', 1)
return since
