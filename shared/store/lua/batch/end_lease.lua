-- allow-oom: only releases a lease.
-- End a worker's lease on a batch; is_finished: every reset of it has ended.
-- KEYS batch active   ARGV id fence is_finished      1 when this made it finished
local h = redis.call('HMGET', KEYS[1], 'fe', 'st')
if h[1] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'lu', 0)
if ARGV[3] ~= '1' or h[2] ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'st', 'finished', 'e', int(math.floor(now_us() / 1000)))
redis.call('SREM', KEYS[2], ARGV[1])
return 1
