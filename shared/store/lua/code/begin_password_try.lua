-- Reserve one of the few tries of a caller at a user's current password.
-- KEYS window tried   ARGV max_wrong window_ms caller    the milliseconds to wait, or 0: try
local most = tonumber(ARGV[1])
if tonumber(redis.call('GET', KEYS[1]) or '0') >= most then
  return int(math.max(1, redis.call('PTTL', KEYS[1])))
end
local tries = redis.call('INCR', KEYS[1])
if tries == 1 or tries == most then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
redis.call('SADD', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return '0'
