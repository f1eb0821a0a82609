-- Record a reset: limits, sequence, record, due set, live codes; all or nothing, safe to repeat.
-- KEYS r due u req m older
-- ARGV id user org channel queue life_ms key_id language kind cooldown_ms hour day live_max
--      keep_ms margin_ms tag asked_us patience_us since_ms, then field, value … of the record
--      (since_ms: a batch's: skip users with newer resets; 2^52: a stranger's: displace no code; 0: neither)
-- {'recorded'|'known', created_us, deadline_ms, sequence, org} or {'limited', name, wait_ms} or
-- {'skipped', why} or {'late'}: the server was frozen; the caller has had its 503 by now
local id, channel, tag = ARGV[1], ARGV[4], ARGV[16]
local old = redis.call('HMGET', KEYS[1], 'c', 'x', 'sq', 'o')
if old[1] then return {'known', old[1], old[2], old[3], old[4]} end
local us, asked_us = now_us(), tonumber(ARGV[17])
if asked_us > 0 and us - asked_us > tonumber(ARGV[18]) then return {'late'} end
local now = math.floor(us / 1000)
local since = tonumber(ARGV[19])
if since > 0 then
  local why = in_the_way(KEYS[3], tag, id, channel, since, now)
  if since == 2^52 and #live_resets(KEYS[3], tag, now) >= tonumber(ARGV[13]) then why = 'newer_reset' end
  if why ~= '' then return {'skipped', why} end
end
local cooldown, hour, day = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])

local function window_wait(limit, span)
  if limit == 0 then return 0 end
  local n = redis.call('ZCOUNT', KEYS[4], int(now - span + 1), '+inf')
  if n < limit then return 0 end
  local first = redis.call('ZRANGEBYSCORE', KEYS[4], int(now - span + 1), '+inf', 'WITHSCORES',
                           'LIMIT', n - limit, 1)
  return tonumber(first[2]) + span - now
end

-- Name the limit that lasts longest, so that a caller who waits for it is not refused again.
local name, wait = 'cooldown', 0
if cooldown > 0 then wait = tonumber(redis.call('HGET', KEYS[3], 'cd') or '0') - now end
local hour_wait, day_wait = window_wait(hour, 3600000), window_wait(day, 86400000)
if hour_wait > wait then name, wait = 'user_hour', hour_wait end
if day_wait > wait then name, wait = 'user_day', day_wait end
if wait > 0 then return {'limited', name, int(wait)} end

local is_returned = ARGV[9] == 'returned'  -- the caller has the code: nothing is sent, nothing is due

-- The last one by this channel, if not yet sent, is superseded. Of the codes that work at most
-- live_max stay, and the oldest are displaced. Listed are ten, and whatever still works.
local has_superseded, living = is_returned, 1
for place, other in ipairs(last_resets(KEYS[3])) do
  local r = tag .. ':r:' .. other
  local h = not has_superseded and redis.call('HMGET', r, 'ch', 'k', 'st', 'q', 'db', 'f')
  if h and h[1] == channel and h[2] ~= 'returned' then
    has_superseded = true
    redis.call('HSET', r, 'su', '1')
    if (h[3] == 'queued' or h[3] == 'retrying') and h[5] == '0' then
      redis.call('HSET', r, 'f', int(tonumber(h[6]) + 1), 'v', 'replaced')
      settle(r, tag .. ':due:' .. h[4], KEYS[5], other, h[3], 'cancelled', channel, 'superseded',
             now, tonumber(ARGV[14]))
    end
  end
  local is_live = works(r, now)
  if is_live and living < tonumber(ARGV[13]) then
    living = living + 1
  else
    if is_live then redis.call('HSET', r, 'v', 'displaced') end
    if place >= 10 then note_older(KEYS[6], tag, other, now, tonumber(ARGV[6]) + tonumber(ARGV[14])) end
    if place >= 10 or is_live == nil then redis.call('HDEL', KEYS[3], other) end
  end
end

local deadline = now + tonumber(ARGV[6])
local sequence = redis.call('HINCRBY', KEYS[3], 'seq', 1)
redis.call('HSET', KEYS[1], 'st', 'queued', 'u', ARGV[2], 'o', ARGV[3], 'ch', channel,
  'q', ARGV[5], 'k', ARGV[9], 'kid', ARGV[7], 'lg', ARGV[8], 'c', int(us), 'x', int(deadline),
  'sq', sequence, 'ud', string.sub(KEYS[3], #tag + 4), 'mg', ARGV[15], 'f', 0, 'cl', 0, 'at', 0, 'db', 0, 'n', int(now),
  unpack(ARGV, 20))
if is_returned then
  settle(KEYS[1], KEYS[2], KEYS[5], id, nil, 'accepted', channel, 'code_returned', now,
         tonumber(ARGV[14]))
else
  redis.call('ZADD', KEYS[2], int(now), id)
  count(KEYS[5], nil, 'queued', channel)
  redis.call('HINCRBY', KEYS[5], 'in:' .. ARGV[5], 1)
end
redis.call('HSET', KEYS[3], id, sequence,
           unpack(cooldown > 0 and {'cd', int(now + cooldown), 'cdid', id} or {}))
if hour > 0 or day > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', int(now - 86400000))
  redis.call('ZADD', KEYS[4], int(now), id)
  redis.call('PEXPIRE', KEYS[4], 86400000)
end
note_made(tag, id, now, tonumber(ARGV[6]), tonumber(ARGV[14]))
return {'recorded', int(us), int(deadline), sequence, ARGV[3]}
