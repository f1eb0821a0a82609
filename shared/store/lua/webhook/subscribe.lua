-- Replace this shard's list of subscriptions, unless it has this version or a newer one.
-- KEYS subscribed   ARGV version then organisation, 'subscription=word,word …', …
if tonumber(redis.call('HGET', KEYS[1], '') or '-1') >= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], '', ARGV[1])
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
return 1
