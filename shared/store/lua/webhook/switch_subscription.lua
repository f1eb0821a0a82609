-- Enable or disable a subscription; one that was removed meanwhile stays removed.
-- KEYS subscriptions version audit   ARGV id record by action reason max_acts
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', ARGV[6], '*',
           'by', ARGV[3], 'action', ARGV[4], 'target', ARGV[1], 'reason', ARGV[5])
return 1
