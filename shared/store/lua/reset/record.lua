-- Record a reset: limits, sequence, record, due set, live codes; all or nothing, safe to repeat.
-- KEYS r due u live recent req m older
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
  local why = in_the_way(KEYS[5], tag, id, channel, since, now)
  local works = redis.call('ZCOUNT', KEYS[4], int(now), '+inf')
  if since == 2^52 and works >= tonumber(ARGV[13]) then why = 'newer_reset' end
  if why ~= '' then return {'skipped', why} end
end
local cooldown, hour, day = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])

local function window_wait(limit, span)
  if limit == 0 then return 0 end
  local n = redis.call('ZCOUNT', KEYS[6], int(now - span + 1), '+inf')
  if n < limit then return 0 end
  local first = redis.call('ZRANGEBYSCORE', KEYS[6], int(now - span + 1), '+inf', 'WITHSCORES',
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

-- A newer reset for the same user and channel supersedes an older one not yet sent.
local current = not is_returned and redis.call('HGET', KEYS[3], 'cur:' .. channel)
if current then
  local r = tag .. ':r:' .. current
  local h = redis.call('HMGET', r, 'st', 'q', 'db', 'f')
  if (h[1] == 'queued' or h[1] == 'retrying') and h[3] == '0' then
    redis.call('HSET', r, 'f', int(tonumber(h[4]) + 1), 'v', 'replaced', 'su', '1')
    redis.call('ZREM', KEYS[4], current)
    settle(r, tag .. ':due:' .. h[2], KEYS[7], current, h[1], 'cancelled', channel, 'superseded',
           now, tonumber(ARGV[14]))
  elseif h[1] then
    redis.call('HSET', r, 'su', '1')
  end
end

local deadline = now + tonumber(ARGV[6])
local sequence = redis.call('HINCRBY', KEYS[3], 'seq', 1)
redis.call('HSET', KEYS[1], 'st', 'queued', 'u', ARGV[2], 'o', ARGV[3], 'ch', channel,
  'q', ARGV[5], 'k', ARGV[9], 'kid', ARGV[7], 'lg', ARGV[8], 'c', int(us), 'x', int(deadline),
  'sq', sequence, 'ud', string.sub(KEYS[3], #tag + 4), 'mg', ARGV[15], 'f', 0, 'cl', 0, 'at', 0, 'db', 0, 'n', int(now),
  unpack(ARGV, 20))
if is_returned then
  settle(KEYS[1], KEYS[2], KEYS[7], id, nil, 'accepted', channel, 'code_returned', now,
         tonumber(ARGV[14]))
else
  redis.call('ZADD', KEYS[2], int(now), id)
  redis.call('HSET', KEYS[3], 'cur:' .. channel, id)
  count(KEYS[7], nil, 'queued', channel)
  redis.call('HINCRBY', KEYS[7], 'in:' .. ARGV[5], 1)
end
if cooldown > 0 then redis.call('HSET', KEYS[3], 'cd', int(now + cooldown), 'cdid', id) end
if hour > 0 or day > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', int(now - 86400000))
  redis.call('ZADD', KEYS[6], int(now), id)
  redis.call('PEXPIRE', KEYS[6], 86400000)
end

-- The codes that work: at most live_max, the oldest is displaced.
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', int(now))
redis.call('ZADD', KEYS[5], int(now), id)
redis.call('ZADD', KEYS[4], int(deadline), id)
if redis.call('ZCARD', KEYS[4]) > tonumber(ARGV[13]) then
  local oldest, since
  for _, other in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
    local c = tonumber(redis.call('HGET', tag .. ':r:' .. other, 'c') or '0')
    if other ~= id and (not since or c < since) then oldest, since = other, c end
  end
  redis.call('ZREM', KEYS[4], oldest)
  if since > 0 then redis.call('HSET', tag .. ':r:' .. oldest, 'v', 'displaced') end
end
for _, other in ipairs(redis.call('ZRANGE', KEYS[5], 0, -11)) do  -- ten, and whatever still works
  if not redis.call('ZSCORE', KEYS[4], other) then
    note_older(KEYS[8], tag, other, now, tonumber(ARGV[6]) + tonumber(ARGV[14]))
    redis.call('ZREM', KEYS[5], other)
  end
end
keep_for(KEYS[4], tonumber(ARGV[6]) + 86400000)
keep_for(KEYS[5], tonumber(ARGV[6]) + tonumber(ARGV[14]))
note_made(tag, id, now, tonumber(ARGV[6]), tonumber(ARGV[14]))
return {'recorded', int(us), int(deadline), sequence, ARGV[3]}
