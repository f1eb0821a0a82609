-- CLAIM: one worker at a time; the lease is simply "due later", nothing is removed.
-- KEYS r due:urgent due:bulk m   ARGV id lease_ms max_claims keep_ms
-- {'claimed', now_ms, fence, doubtful, field, value, …} or {why not}
local id = ARGV[1]
local due, m = KEYS[2], KEYS[4]
if redis.call('HGET', KEYS[1], 'q') == 'bulk' then due = KEYS[3] end
local score = redis.call('ZSCORE', due, id)
if not score then return {'absent'} end
local now = math.floor(now_us() / 1000)
if tonumber(score) > now then return {'not_due'} end
local h = redis.call('HMGET', KEYS[1], 'st', 'x', 'cl', 'v', 'su', 'db', 'mg', 'ch', 'at', 'f')
local st = h[1]
if not st then
  redis.call('ZREM', due, id)
  return {'absent'}
end
local deadline, keep = tonumber(h[2]), tonumber(ARGV[4])
local doubts = tonumber(h[6])

if st == 'sending' then  -- the last holder died in the call
  doubts = redis.call('HINCRBY', KEYS[1], 'db', 1)
  redis.call('HSET', KEYS[1], 'st', 'unknown', 'rs', 'worker_died')
  local a = cjson.decode(redis.call('HGET', KEYS[1], 'a' .. h[9]))
  redis.call('HSET', KEYS[1], 'a' .. h[9],
             cjson.encode({a[1], a[2], int(now), 'doubt', '', 'the worker died during the call'}))
  count(m, st, 'unknown', h[8])
  st = 'unknown'
end

if now >= deadline then
  local why = {unknown = 'in_doubt', retrying = 'no_provider_in_time', queued = 'not_sent_in_time'}
  settle(KEYS[1], due, m, id, st, 'expired', h[8], why[st], now, keep)
  return {'expired'}
end
if st == 'unknown' and (doubts >= 2 or h[4] or h[5]) then
  look_again(KEYS[1], due, id, deadline)  -- a callback or the deadline settles it
  return {'held'}
end
if h[4] then
  redis.call('HSET', KEYS[1], 'f', int(tonumber(h[10]) + 1))
  settle(KEYS[1], due, m, id, st, 'cancelled', h[8], 'code_' .. h[4], now, keep)
  return {'cancelled'}
end
if tonumber(h[3]) >= tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'f', int(tonumber(h[10]) + 1))
  settle(KEYS[1], due, m, id, st, 'failed', h[8], 'poison', now, keep)
  return {'failed'}
end
if now > deadline - tonumber(h[7]) and st ~= 'unknown' then
  look_again(KEYS[1], due, id, deadline)  -- never a code about to expire
  return {'too_late'}
end
local fence = redis.call('HINCRBY', KEYS[1], 'f', 1)
redis.call('HINCRBY', KEYS[1], 'cl', 1)
look_again(KEYS[1], due, id, now + tonumber(ARGV[2]))
return {'claimed', int(now), fence, st == 'unknown' and 1 or 0,
        unpack(redis.call('HGETALL', KEYS[1]))}
