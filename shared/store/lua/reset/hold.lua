-- allow-oom: an operator must be able to stop a reset on a full server.
-- Hold a reset: it is not sent until it is released. Add an event that says by whom.
-- KEYS r   ARGV detail      'held' | 'absent' | the status that says it is too late
local st = redis.call('HGET', KEYS[1], 'st')
if not st then return 'absent' end
if st ~= 'queued' and st ~= 'retrying' then return st end
if redis.call('HSETNX', KEYS[1], 'hd', 1) == 1 then
  add_event(KEYS[1], math.floor(now_us() / 1000), 'held', '', ARGV[1])
end
return 'held'
