-- Enable or disable a subscription; one that was removed meanwhile stays removed.
-- KEYS subscriptions version   ARGV id record
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('INCR', KEYS[2])
return 1
