-- Claim the requests that are due: unless they are removed, they are due again after the lease.
-- KEYS requests   ARGV most lease_ms
-- {now_ms, request…}
local now = math.floor(now_us() / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, ARGV[1])
for _, item in ipairs(found) do redis.call('ZADD', KEYS[1], int(now + tonumber(ARGV[2])), item) end
return {int(now), unpack(found)}
