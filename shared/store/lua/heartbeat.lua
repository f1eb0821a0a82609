-- allow-oom: workers report on a full server too; a line per worker.
-- Note that a worker is alive; 1 if it is new. KEYS workers   ARGV name keep_ms
local now = math.floor(now_us() / 1000)
local is_new = redis.call('ZADD', KEYS[1], int(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', int(now - tonumber(ARGV[2])))
return is_new
