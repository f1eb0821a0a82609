-- Lift a suppression; note when, by the clock that compares it with reports.
-- KEYS suppression lifted index   ARGV keep_s digest      1; 0: there was none
redis.call('ZREM', KEYS[3], ARGV[2])
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
redis.call('SET', KEYS[2], int(math.floor(now_us() / 1000)), 'EX', ARGV[1])
return 1
