-- allow-oom: delivers what is already recorded; updates it and adds next to nothing.
-- Make what a pause postponed due again: at once, or at a pace.
-- KEYS due   ARGV tag cursor max reason field name release_id start_ms moved per_second
-- (field '': all that waits for that reason; per_second 0: at once; `moved`: earlier in this release)
-- {cursor, how many were moved, how many of them will expire before their turn}
local tag, wanted = ARGV[1], ARGV[4]
local start, moved, pace = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local now = math.floor(now_us() / 1000)
local number, late = 0, 0
local found = redis.call('ZSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])

local before = string.match(ARGV[7], '^(.*@)')  -- an earlier release of the same: this one's pace counts

local function waits(h, field)  -- for this release; one that is claimed now has its lease
  if h[2] ~= h[3] or (field and h[4] ~= ARGV[6]) then return false end
  if h[1] == 'paced' then
    return h[5] and h[5] ~= ARGV[7] and string.sub(h[5], 1, #before) == before
  end
  return h[1] == wanted
end

for i = 1, #found[2], 2 do
  local id = found[2][i]
  local r = tag .. ':r:' .. id
  local field = ARGV[5] ~= '' and ARGV[5]
  local h = redis.call('HMGET', r, 'rs', 'f', 'ff', field or 'ch', 'rl', 'x', 'mg')
  if h[6] and waits(h, field) then
    local at, deadline = now, tonumber(h[6])
    if pace > 0 then
      at = math.max(now, math.floor(start + (moved + number) * 1000 / pace))
      if at > deadline - tonumber(h[7]) then at, late = deadline, late + 1 end
    end
    number = number + 1
    redis.call('HSET', r, 'rs', pace > 0 and 'paced' or '', 'rl', ARGV[7])
    look_again(r, KEYS[1], id, at)
  end
end
return {found[1], number, late}
