-- Count a shard's webhooks, for each subscription.
-- KEYS due dead due dead …   {due now, waiting, dead, the oldest's age in ms or ''} for each pair
local now, answer = math.floor(now_us() / 1000), {}
for i = 1, #KEYS, 2 do
  local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  answer[#answer + 1] = redis.call('ZCOUNT', KEYS[i], '-inf', int(now))
  answer[#answer + 1] = redis.call('ZCARD', KEYS[i])
  answer[#answer + 1] = redis.call('ZCARD', KEYS[i + 1])
  answer[#answer + 1] = first[2] and int(now - tonumber(first[2])) or ''
end
return answer
