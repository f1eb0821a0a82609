-- NOTE RELEASE: how far a release is, or ('' now) that it is over; unless it is another by now.
-- KEYS releases   ARGV field before now
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == '' then return redis.call('HDEL', KEYS[1], ARGV[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
