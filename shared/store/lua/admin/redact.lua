-- allow-oom: erasing must work on a full server; the copy is a moment's.
-- Copy some entries of an audit stream, redacted ones in their new words; the last copy takes its place.
-- KEYS stream copy   ARGV after count redacted (JSON: entry id → field, value …)
-- where to go on, or '': done
local redacted = cjson.decode(ARGV[3])
local some = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', ARGV[2])
for _, entry in ipairs(some) do
  redis.call('XADD', KEYS[2], entry[1], unpack(redacted[entry[1]] or entry[2]))
end
if #some == tonumber(ARGV[2]) then return '(' .. some[#some][1] end
redis.call('RENAME', KEYS[2], KEYS[1])
return ''
