-- Clear what keeps a user from resets and typed codes; return what was in force: name, number, …
-- KEYS u req guesses   ARGV user_digest tag max_of_a_reset
local now = math.floor(now_us() / 1000)
local cooldown = tonumber(redis.call('HGET', KEYS[1], 'cd') or '0') > now and 1 or 0
local requests = redis.call('ZCOUNT', KEYS[2], int(now - 86400000 + 1), '+inf')
redis.call('HDEL', KEYS[1], 'cd', 'cdid')
redis.call('DEL', KEYS[2])
local guessers, void = 0, 0
for _, field in ipairs(redis.call('HKEYS', KEYS[3])) do
  if string.sub(field, 1, #ARGV[1]) == ARGV[1] then
    if guesses_of(KEYS[3], field, now) > 0 then guessers = guessers + 1 end
    redis.call('HDEL', KEYS[3], field)
  end
end
for _, id in ipairs(live_resets(KEYS[1], ARGV[2], now)) do
  local r = ARGV[2] .. ':r:' .. id
  if tonumber(redis.call('HGET', r, 'gw') or '0') >= tonumber(ARGV[3]) then void = void + 1 end
  redis.call('HDEL', r, 'gw')
end
return {'cooldown', cooldown, 'requests', requests, 'guessers', guessers,
        'void_codes', void}
