-- List what is due in a shard's queue, oldest first, with the counts of due and of all.
-- KEYS due   ARGV grace_ms max tag
-- {how many due, how many in all, for how long the oldest in ms or '', id, channel, …}
local now = math.floor(now_us() / 1000)
local late = int(now - tonumber(ARGV[1]))
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local answer = {redis.call('ZCOUNT', KEYS[1], '-inf', late), redis.call('ZCARD', KEYS[1]),
                first[2] and int(now - tonumber(first[2])) or ''}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', late, 'LIMIT', 0, ARGV[2])) do
  answer[#answer + 1] = id
  answer[#answer + 1] = redis.call('HGET', ARGV[3] .. ':r:' .. id, 'ch') or 'email'
end
return answer
