-- Replace this shard's list of subscriptions, unless it has this version or a newer one.
-- KEYS subscribed   ARGV version keep_ms then organisation, 'subscription=word,word …', …
local h = redis.call('HMGET', KEYS[1], '', ' ms')
local version = tonumber(h[1] or '-1')
if version > tonumber(ARGV[1]) or (version == tonumber(ARGV[1]) and h[2] == ARGV[2]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '', ARGV[1], ' ms', ARGV[2])
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
