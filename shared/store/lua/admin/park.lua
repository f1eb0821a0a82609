-- allow-oom: delivers what is already recorded; updates it and adds next to nothing.
-- Postpone what is due and paused, so that no worker claims it. Claims take precedence, and so
-- does what is past its deadline.
-- KEYS due   ARGV tag max least_ms spread_ms then scope, name …      how many were parked
local tag, max = ARGV[1], tonumber(ARGV[2])
local now = math.floor(now_us() / 1000)

local function paused(queue, channel, organisation)
  local value = {queue = queue, channel = channel, organisation = organisation}
  for i = 5, #ARGV, 2 do
    if value[ARGV[i]] == ARGV[i + 1] then return ARGV[i] end
  end
end

local parked = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'LIMIT', 0, max)) do
  local r = tag .. ':r:' .. id
  local h = redis.call('HMGET', r, 'st', 'x', 'mg', 'q', 'ch', 'o')
  local scope = (h[1] == 'queued' or h[1] == 'retrying') and now < tonumber(h[2]) and
                paused(h[4], h[5], h[6])
  if scope then
    parked = parked + 1
    local deadline = tonumber(h[2])
    local at = now + tonumber(ARGV[3]) + math.floor(tonumber(ARGV[4]) * parked / max)
    if at > deadline - tonumber(h[3]) then at = deadline end
    local fence = redis.call('HINCRBY', r, 'f', 1)  -- fences off a worker that claimed it and was frozen
    redis.call('HSET', r, 'ff', fence, 'rs', 'paused_' .. scope)
    look_again(r, KEYS[1], id, at)
  end
end
return parked
