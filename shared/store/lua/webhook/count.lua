-- Count a shard's webhooks, for each subscription.
-- KEYS due dead answers due …   {due now, waiting, dead, the oldest's age in ms or '', last answer or ''}
-- for each of them
local now, answer = math.floor(now_us() / 1000), {}
for i = 1, #KEYS, 3 do
  local first = redis.call('ZRANGE', KEYS[i], 0, 0, 'WITHSCORES')
  answer[#answer + 1] = redis.call('ZCOUNT', KEYS[i], '-inf', int(now))
  answer[#answer + 1] = redis.call('ZCARD', KEYS[i])
  answer[#answer + 1] = redis.call('ZCARD', KEYS[i + 1])
  answer[#answer + 1] = first[2] and int(now - tonumber(first[2])) or ''
  answer[#answer + 1] = redis.call('LINDEX', KEYS[i + 2], 0) or ''
end
return answer
