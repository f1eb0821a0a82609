-- Store a provider's reports, each once; a worker applies them from the shard's list.
-- KEYS receipts m   ARGV tag provider max_waiting then id, mark, at_ms or '', rest …
-- {new, repeated, unknown} or {'full'}: the provider must send it again later
local tag, provider = ARGV[1], label(ARGV[2])
if redis.call('LLEN', KEYS[1]) >= tonumber(ARGV[3]) then return {'full'} end
local now = math.floor(now_us() / 1000)
local new, repeated, unknown = 0, 0, 0
for i = 4, #ARGV, 4 do
  local r = tag .. ':r:' .. ARGV[i]
  if redis.call('EXISTS', r) == 0 then
    unknown = unknown + 1
  elseif redis.call('HSETNX', r, 'cb:' .. ARGV[i + 1], 1) == 0 then
    repeated = repeated + 1
  else
    local at = math.min(tonumber(ARGV[i + 2]) or now, now)
    redis.call('RPUSH', KEYS[1], ARGV[i] .. ' ' .. int(at) .. ' ' .. ARGV[i + 3])
    new = new + 1
  end
end
for word, number in pairs({received = new, repeated = repeated, unknown = unknown}) do
  if number > 0 then redis.call('HINCRBY', KEYS[2], 'cb:' .. provider .. ':' .. word, number) end
end
redis.call('HSET', KEYS[2], 'last:' .. provider, int(now))
return {new, repeated, unknown}
