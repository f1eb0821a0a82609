-- Return the caller of a token, or {} when it is unknown, revoked or expired; note the use.
-- KEYS token   ARGV the shortest time between two notes of use, in ms
local facts = redis.call('HMGET', KEYS[1], 'id', 'org', 'user', 'instance', 'orgs', 'expires', 'revoked', 'used')
if not facts[1] or facts[7] then return {} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expires = tonumber(facts[6])
if expires and expires <= now then return {} end
if now - (tonumber(facts[8]) or 0) >= tonumber(ARGV[1]) then
  redis.pcall('HSET', KEYS[1], 'used', string.format('%.0f', now)) -- a full server still knows its callers
end
return {facts[1], facts[2], facts[3] or '', facts[4], facts[5], expires and string.format('%.0f', expires - now) or ''}
