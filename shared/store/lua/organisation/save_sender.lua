-- Replace or remove an organisation's sender, if it is still of the version that its writer read.
-- KEYS organisation   ARGV version sender (sender '': removed)
-- the new version; 0: another one is in force, or the organisation is gone
local found = redis.call('HMGET', KEYS[1], 'name', 'senderVersion')
if not found[1] or (found[2] or '0') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'sender')
else
  redis.call('HSET', KEYS[1], 'sender', ARGV[2])
end
return redis.call('HINCRBY', KEYS[1], 'senderVersion', 1)
