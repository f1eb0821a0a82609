-- allow-oom: delivers what is already recorded; updates it and adds nothing.
-- Claim a reset for one worker. The lease is a later due time: the id stays in the due set.
-- KEYS r due:urgent due:bulk m
-- ARGV id lease_ms max_claims keep_ms tag doubt_ms (by e-mail) doubt_ms (by SMS)
-- {'claimed', now_ms, fence, doubtful, field, value, …} or {reason}
local id = ARGV[1]
local due, m = KEYS[2], KEYS[4]
if redis.call('HGET', KEYS[1], 'q') == 'bulk' then due = KEYS[3] end
local score = redis.call('ZSCORE', due, id)
if not score then return {'absent'} end
local us = now_us()
local now = math.floor(us / 1000)
if tonumber(score) > now then return {'not_due'} end
local h = redis.call('HMGET', KEYS[1], 'st', 'x', 'cl', 'v', 'su', 'db', 'mg', 'ch', 'at', 'f', 'ud',
                     'rs', 'hd')
local st = h[1]
if not st or FINAL[st] then
  redis.call('ZREM', due, id)
  return {'absent'}
end
local deadline, doubts = tonumber(h[2]), tonumber(h[6])

-- End the reset without an attempt; fence off older claims.
local function over(status, reason)
  redis.call('HSET', KEYS[1], 'f', int(tonumber(h[10]) + 1))
  settle(KEYS[1], due, m, id, st, status, h[8], reason, now, tonumber(ARGV[4]))
  if h[11] then give_back(ARGV[5] .. ':u:' .. h[11], KEYS[1], id, doubts) end
  return {status}
end

if st == 'sending' then  -- the last holder died in the call
  doubts = redis.call('HINCRBY', KEYS[1], 'db', 1)
  redis.call('HSET', KEYS[1], 'st', 'unknown', 'rs', 'worker_died')
  local a = cjson.decode(redis.call('HGET', KEYS[1], 'a' .. h[9]))
  redis.call('HSET', KEYS[1], 'a' .. h[9],
             cjson.encode({a[1], a[2], int(now), 'doubt', '', 'the worker died during the call'}))
  count(m, st, 'unknown', h[8])
  st = 'unknown'
  local look_at = tonumber(a[2]) + tonumber(h[8] == 'sms' and ARGV[7] or ARGV[6])
  if now < math.min(look_at, deadline) then  -- a callback may come, and lists lag behind
    look_again(KEYS[1], due, id, math.min(look_at, deadline))
    return {'held'}
  end
end

if now >= deadline then
  if doubts > 0 then return over('expired', 'in_doubt') end
  if h[13] then return over('expired', 'held') end
  if string.find(h[12] or '', 'paused', 1, true) then return over('expired', h[12]) end
  local none = st == 'retrying' or h[12] == 'circuit_open'
  return over('expired', none and 'no_provider_in_time' or 'not_sent_in_time')
end
if st == 'unknown' and (doubts >= 2 or h[4] or h[5]) then
  look_again(KEYS[1], due, id, deadline)  -- a callback or the deadline settles it
  return {'held'}
end
if h[4] then return over('cancelled', 'code_' .. h[4]) end
if h[5] then return over('cancelled', 'superseded') end
if tonumber(h[3]) >= tonumber(ARGV[3]) then
  redis.call('HINCRBY', m, 'poison', 1)
  return over('failed', 'poison')
end
if h[13] then
  look_again(KEYS[1], due, id, deadline)  -- held by an operator; releasing it makes it due
  return {'held'}
end
if now > deadline - tonumber(h[7]) and st ~= 'unknown' then
  look_again(KEYS[1], due, id, deadline)  -- never a code about to expire
  return {'too_late'}
end
local fence = next_fence(h[10], us)
local ends = int(now + tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'f', fence, 'cl', int(tonumber(h[3]) + 1), 'n', ends)
redis.call('ZADD', due, ends, id)
return {'claimed', int(now), fence, st == 'unknown' and 1 or 0,
        unpack(redis.call('HGETALL', KEYS[1]))}
