-- Check the suppression and the limits of organisation, caller and installation; count the call
-- only when all of them allow it. Windows begin with their first call. Calls that ask for the
-- same reset under one Idempotency-Key count once.
-- KEYS version suppression counted window…
-- ARGV expected_version may_count once_ms then name limit window_ms …      once_ms 0: not repeatable
-- {'ok', now_us} | {'stale'} | {'suppressed'} | {'limited', name, wait_ms}
local version = tonumber(ARGV[1])  -- -1: no caller is involved
if version >= 0 and tonumber(redis.call('GET', KEYS[1]) or '0') ~= version then return {'stale'} end
if redis.call('EXISTS', KEYS[2]) == 1 then return {'suppressed'} end
if ARGV[2] == '0' or redis.call('EXISTS', KEYS[3]) == 1 then return {'ok', int(now_us())} end
local limited = count_call(KEYS, 4, ARGV, 4)
if limited then return limited end
if ARGV[3] ~= '0' and #KEYS > 3 then redis.call('SET', KEYS[3], 1, 'PX', ARGV[3]) end
return {'ok', int(now_us())}
