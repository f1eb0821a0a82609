-- allow-oom: what stops sending must work on a full server; windows end by themselves.
-- Count a call that records no reset toward every limit, if all of them allow it.
-- KEYS version window…   ARGV expected_version then name limit window_ms amount …
-- {'ok'} | {'stale'} | {'limited', name, wait_ms}
local version = tonumber(ARGV[1])  -- -1: not known by this store
if version >= 0 and tonumber(redis.call('GET', KEYS[1]) or '0') ~= version then return {'stale'} end
return count_call(KEYS, 2, #KEYS, ARGV, 2) or {'ok'}
