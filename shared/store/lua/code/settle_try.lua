-- allow-oom: a wrong guess must count, and a counted try be returned.
-- Settle a try. KEYS u guesses m   ARGV what id field tag hold_token hold_ms   field '': it was not counted
-- wrong_typed, wrong_link; refund: the code was right, and had ended; opened: right, but not used;
-- take: right, and about to be used.
-- Return 'ok', 'gone' (ended meanwhile), 'held' (another request is using it right now).
local what, id, field, tag = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = math.floor(now_us() / 1000)
if string.sub(what, 1, 6) == 'wrong_' then
  redis.call('HINCRBY', KEYS[3], 'wrong:' .. string.sub(what, 7), 1)
  return 'ok'
end
local tries, _, entry = guesses_of(KEYS[2], field, now)
if tries > 0 then
  for _, other in ipairs(live_resets(KEYS[1], tag, now)) do
    local r = tag .. ':r:' .. other
    if tonumber(redis.call('HGET', r, 'gw') or '0') > 0 then redis.call('HINCRBY', r, 'gw', -1) end
  end
  if what == 'refund' and tries > 1 then
    entry[1] = tries - 1
    redis.call('HSET', KEYS[2], field, cjson.encode(entry))
  else
    redis.call('HDEL', KEYS[2], field)  -- who has a code that works is no guesser
  end
end
if what == 'refund' then return 'ok' end
if not works(tag .. ':r:' .. id, now) then return 'gone' end
redis.call('HSETNX', tag .. ':r:' .. id, 'op', int(now))
if what == 'opened' then return 'ok' end
local held = redis.call('HGET', KEYS[1], 'hx')
if held and tonumber(held) > now then return 'held' end
redis.call('HSET', KEYS[1], 'h', ARGV[5], 'hx', int(now + tonumber(ARGV[6])))
return 'ok'
