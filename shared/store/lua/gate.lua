-- GATE: what holds for an organisation, a caller and the installation; looked at together, and
-- counted only when all of them pass. Windows begin with their first call.
-- KEYS version suppression window…   ARGV expected_version may_count then name limit window_ms …
-- {'ok'} | {'stale'} | {'suppressed'} | {'limited', name, wait_ms}
local version = tonumber(ARGV[1])  -- -1: no caller is involved
if version >= 0 and tonumber(redis.call('GET', KEYS[1]) or '0') ~= version then return {'stale'} end
if redis.call('EXISTS', KEYS[2]) == 1 then return {'suppressed'} end
if ARGV[2] == '0' then return {'ok'} end
for i = 3, #KEYS do
  local a = 3 + (i - 3) * 3
  if tonumber(redis.call('GET', KEYS[i]) or '0') >= tonumber(ARGV[a + 1]) then
    return {'limited', ARGV[a], int(redis.call('PTTL', KEYS[i]))}
  end
end
for i = 3, #KEYS do
  if redis.call('INCR', KEYS[i]) == 1 then
    redis.call('PEXPIRE', KEYS[i], ARGV[3 + (i - 3) * 3 + 2])
  end
end
return {'ok'}
