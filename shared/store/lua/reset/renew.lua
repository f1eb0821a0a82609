-- allow-oom: delivers what is already recorded.
-- Renew a claim before its attempt is marked: the lease ends later.
-- KEYS r due   ARGV id fence lease_ms
-- 1; 0: the claim is over
local h = redis.call('HMGET', KEYS[1], 'f', 'st')
if h[1] ~= ARGV[2] or FINAL[h[2]] then return 0 end
look_again(KEYS[1], KEYS[2], ARGV[1], math.floor(now_us() / 1000) + tonumber(ARGV[3]))
return 1
