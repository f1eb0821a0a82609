-- Replace an organisation's branding, if it is still of the version that its writer read.
-- KEYS organisation profile
-- ARGV version name language languages hosts branding [logo] (logo '': removed; absent: as it is)
-- the new version; 0: another one is in force, or the organisation is gone
local found = redis.call('HMGET', KEYS[1], 'name', 'version')
if not found[1] or tonumber(found[2] or '0') ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'name', ARGV[2], 'language', ARGV[3], 'languages', ARGV[4], 'hosts', ARGV[5])
redis.call('HSET', KEYS[2], 'branding', ARGV[6])
if ARGV[7] == '' then
  redis.call('HDEL', KEYS[2], 'logo')
elseif ARGV[7] then
  redis.call('HSET', KEYS[2], 'logo', ARGV[7])
end
return redis.call('HINCRBY', KEYS[1], 'version', 1)
