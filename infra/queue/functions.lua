-- The job queue of one revision. KEYS[1] is the queue's base key, tamer:{REVISION:SHARD}; every
-- other key is derived from it and shares its hash tag, so a queue lives in one slot.
--
--   counts                       hash   totals (accepted, accepted_prompt_tokens, completed ...,
--                                       ended_jobs and ended_output_tokens of those ever leased) and
--                                       gauges (queued ...), last_ms (offer, settlement), swept_ms
--                                       (any caller)
--   job:ID                       hash   state, attempt, nonce, tenant, consumer, replica ...
--   spec:ID                      string encoded wire.JobSpec, deleted at settlement
--   ready:STAGE:INBOX:CLASS:T    zset   queued jobs of tenant T by position
--   heads:STAGE:INBOX:CLASS      zset   queued jobs of all tenants by position
--   tenants:STAGE:INBOX:CLASS    zset   tenants with queued jobs, by a counter that may lag behind
--   served, waiting_of           hash   virtual token counter and number of queued jobs, by tenant
--   active                       zset   tenants with queued jobs anywhere, counter may lag behind
--   queued, deadlines            zset   queued jobs by time of acceptance, by end of patience
--   preferred                    zset   jobs in an inbox by the time they become everybody's
--   leases                       zset   leased jobs by expiry
--   held:REPLICA                 set    jobs leased to a replica
--   bell:REPLICA                 list   "w" (look for work) and "s<id>" (stop a job)
--   idle                         set    replicas that wait for their bell
--   consumers                    zset   consumers by expiry of their lease
--   silent                       set    consumers without a lease that may own durable jobs
--   of:CONSUMER                  set    its unsettled jobs
--   orphans:CONSUMER             set    its jobs that wait to be offered again
--   ended:CONSUMER               hash   its jobs that somebody else settled
--   dead                         list   ids of dead letters, newest first
--   rate                         hash   how fast waiting jobs are taken: taken, busy_ms, at_ms
--   used                         hash   epoch; HOUR:TENANT:p|o|j, prompt and output tokens and jobs that
--                                       ended in the hour, of those that were ever leased

local AGEING_MS, CLASSES = 60000, 4
local PROMPT_WEIGHT, OUTPUT_WEIGHT = 1, 2
local KEEP_SETTLED_S, KEEP_BELL_S, KEEP_ENDED_S = 600, 60, 600
local KEEP_USED_S = 30 * 24 * 3600
local HOUR_MS = 3600000
local NEW_CONSUMER_MS = 30000
local QUIET_MS = 3000
local DEAD_LETTERS, KEEP_DEAD_S = 1000, 7 * 24 * 3600
local SWEEP_MAX = 500
local ADOPTIONS_FORGIVEN = 16
local RATE_WINDOW_MS, RATE_KNOWN_MS, RATE_LONGEST_MS = 60000, 5000, 10000
local FINAL = { completed = true, failed = true, cancelled = true, expired = true }

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function count(base, field, by)
  redis.call('HINCRBY', base .. ':counts', field, by)
end

local function job_key(base, id) return base .. ':job:' .. id end

local function read_job(base, id)
  local flat = redis.call('HGETALL', job_key(base, id))
  if #flat == 0 then return nil end
  local job = { id = id }
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  for _, name in ipairs({ 'attempt', 'priority', 'accepted_ms', 'cost_tokens', 'prompt_tokens',
                          'limit_ms', 'output_tokens', 'not_after_ms' }) do
    job[name] = tonumber(job[name])
  end
  return job
end

local function set_state(base, job, state)
  count(base, job.state, FINAL[job.state] and 0 or -1)
  count(base, state, 1)
  job.state = state
  redis.call('HSET', job_key(base, job.id), 'state', state)
end

local function touch(base, now)
  redis.call('HSET', base .. ':counts', 'last_ms', now)
end

-- Order -----------------------------------------------------------------------------------------

local function position(job) return job.accepted_ms + job.priority * AGEING_MS end

local function lane(base, kind, stage, inbox, priority)
  return base .. ':' .. kind .. ':' .. stage .. ':' .. inbox .. ':' .. priority
end

local function served(base, tenant)
  return tonumber(redis.call('HGET', base .. ':served', tenant) or '0')
end

-- The member with the least counter. Scores lag behind `served`, which only grows: the head is
-- true once its score is.
local function least_served(base, key)
  while true do
    local head = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if #head == 0 then return nil end
    local counter = served(base, head[1])
    if counter <= tonumber(head[2]) then return head[1] end
    redis.call('ZADD', key, counter, head[1])
  end
end

local function charge(base, tenant, tokens)
  if tokens > 0 then redis.call('HINCRBY', base .. ':served', tenant, tokens) end
end

local function push_lane(base, job)
  local at = position(job)
  local ready = lane(base, 'ready', job.stage, job.inbox, job.priority) .. ':' .. job.tenant
  redis.call('ZADD', ready, at, job.id)
  redis.call('ZADD', lane(base, 'heads', job.stage, job.inbox, job.priority), at, job.id)
  redis.call('ZADD', lane(base, 'tenants', job.stage, job.inbox, job.priority),
    served(base, job.tenant), job.tenant)
end

local function pull_lane(base, job)
  local ready = lane(base, 'ready', job.stage, job.inbox, job.priority) .. ':' .. job.tenant
  redis.call('ZREM', ready, job.id)
  redis.call('ZREM', lane(base, 'heads', job.stage, job.inbox, job.priority), job.id)
  if redis.call('EXISTS', ready) == 0 then
    redis.call('ZREM', lane(base, 'tenants', job.stage, job.inbox, job.priority), job.tenant)
  end
end

local function ring(base, replica, message)
  local bell = base .. ':bell:' .. replica
  redis.call('RPUSH', bell, message)
  redis.call('EXPIRE', bell, KEEP_BELL_S)
end

local function ring_idle(base)
  for _, replica in ipairs(redis.call('SMEMBERS', base .. ':idle')) do ring(base, replica, 'w') end
  redis.call('DEL', base .. ':idle')
end

local function queue_job(base, job, now)
  if redis.call('HINCRBY', base .. ':waiting_of', job.tenant, 1) == 1 then
    local least = least_served(base, base .. ':active')
    local floor = least and served(base, least) or 0
    charge(base, job.tenant, floor - served(base, job.tenant))
    redis.call('ZADD', base .. ':active', served(base, job.tenant), job.tenant)
  end
  push_lane(base, job)
  redis.call('ZADD', base .. ':queued', job.accepted_ms, job.id)
  redis.call('ZADD', base .. ':deadlines', now + job.limit_ms, job.id)
  if job.inbox ~= 'shared' then redis.call('ZADD', base .. ':preferred', job.not_after_ms, job.id) end
  count(base, 'queued_prompt_tokens', job.prompt_tokens)
  ring_idle(base)
end

local function unqueue_job(base, job)
  pull_lane(base, job)
  redis.call('ZREM', base .. ':queued', job.id)
  redis.call('ZREM', base .. ':deadlines', job.id)
  redis.call('ZREM', base .. ':preferred', job.id)
  count(base, 'queued_prompt_tokens', -job.prompt_tokens)
  if redis.call('HINCRBY', base .. ':waiting_of', job.tenant, -1) <= 0 then
    redis.call('HDEL', base .. ':waiting_of', job.tenant)
    redis.call('ZREM', base .. ':active', job.tenant)
  end
end

local function share(base, job)
  pull_lane(base, job)
  job.inbox = 'shared'
  redis.call('HSET', job_key(base, job.id), 'inbox', 'shared')
  redis.call('ZREM', base .. ':preferred', job.id)
  push_lane(base, job)
end

local function head_job(base, stage, inbox)
  local best, best_at
  for priority = 0, CLASSES - 1 do
    local head = redis.call('ZRANGE', lane(base, 'heads', stage, inbox, priority), 0, 0, 'WITHSCORES')
    if #head > 0 and (best_at == nil or tonumber(head[2]) < best_at) then
      best, best_at = priority, tonumber(head[2])
    end
  end
  if best == nil then return nil end
  local tenant = least_served(base, lane(base, 'tenants', stage, inbox, best))
  return redis.call('ZRANGE', lane(base, 'ready', stage, inbox, best) .. ':' .. tenant, 0, 0)[1]
end

-- Rate ------------------------------------------------------------------------------------------
-- Jobs taken per millisecond in which jobs waited: time with an empty queue says nothing of how fast
-- a full one drains. Both sums fade with a window of busy time; a longer pause counts as a cold start.

local function read_rate(base)
  local found = redis.call('HMGET', base .. ':rate', 'taken', 'busy_ms', 'at_ms')
  return tonumber(found[1] or '0'), tonumber(found[2] or '0'), tonumber(found[3] or '0')
end

local function begin_busy(base, now) redis.call('HSET', base .. ':rate', 'at_ms', now) end

local function note_taken(base, jobs, now)
  local taken, busy_ms, at_ms = read_rate(base)
  local waited_ms = math.min(math.max(now - at_ms, 0), RATE_LONGEST_MS)
  local fade = math.exp(-waited_ms / RATE_WINDOW_MS)
  redis.call('HSET', base .. ':rate', 'taken', string.format('%.6f', taken * fade + jobs),
    'busy_ms', string.format('%.3f', busy_ms * fade + waited_ms), 'at_ms', now)
end

-- How long so many jobs take to be taken; nil where too little was seen.
local function drain_ms(base, jobs)
  local taken, busy_ms = read_rate(base)
  if busy_ms < RATE_KNOWN_MS or taken <= 0 then return nil end
  return math.ceil(jobs * busy_ms / taken)
end

-- Ends ------------------------------------------------------------------------------------------

local function end_lease(base, job, stop)
  redis.call('ZREM', base .. ':leases', job.id)
  if job.replica and job.replica ~= '' then
    redis.call('SREM', base .. ':held:' .. job.replica, job.id)
    if stop then ring(base, job.replica, 's' .. job.id) end
    job.replica = ''
    redis.call('HSET', job_key(base, job.id), 'replica', '', 'nonce', '')
  end
end

local function orphan(base, job, cause)
  redis.call('HSET', job_key(base, job.id), 'cause', cause .. ' ' .. job.replica)
  end_lease(base, job, false)
  set_state(base, job, 'orphaned')
  redis.call('SADD', base .. ':orphans:' .. job.consumer, job.id)
end

-- Counted once a job, in the transaction that ends it. A Redis that has lost its data, and with it
-- the counts, has another epoch.
local function note_used(base, job, output_tokens, now)
  if job.state == 'queued' and job.attempt == 1 then return end
  count(base, 'ended_jobs', 1)
  count(base, 'ended_output_tokens', output_tokens)
  local key = base .. ':used'
  local field = string.format('%d:%s:', math.floor(now / HOUR_MS) * 3600, job.tenant)
  redis.call('HSETNX', key, 'epoch', now)
  redis.call('HINCRBY', key, field .. 'p', job.prompt_tokens)
  redis.call('HINCRBY', key, field .. 'o', output_tokens)
  redis.call('HINCRBY', key, field .. 'j', 1)
  redis.call('EXPIRE', key, KEEP_USED_S)
end

local function settle(base, job, outcome, reason, output_tokens, stop, now)
  note_used(base, job, output_tokens, now)
  if job.state == 'queued' then unqueue_job(base, job) end
  if job.state == 'leased' or job.state == 'streaming' then end_lease(base, job, stop) end
  charge(base, job.tenant, OUTPUT_WEIGHT * (output_tokens - job.output_tokens))
  set_state(base, job, outcome)
  redis.call('HSET', job_key(base, job.id), 'reason', reason, 'output_tokens', output_tokens)
  redis.call('EXPIRE', job_key(base, job.id), KEEP_SETTLED_S)
  redis.call('DEL', base .. ':spec:' .. job.id)
  redis.call('SREM', base .. ':orphans:' .. job.consumer, job.id)
  redis.call('SREM', base .. ':of:' .. job.consumer, job.id)
  touch(base, now)
end

local function settle_for_consumer(base, job, outcome, reason, now)
  settle(base, job, outcome, reason, job.output_tokens, true, now)
  local ended = base .. ':ended:' .. job.consumer
  redis.call('HSET', ended, job.id, outcome .. ': ' .. reason)
  redis.call('EXPIRE', ended, KEEP_ENDED_S)
end

local function due(key, now)
  return redis.call('ZRANGE', key, '-inf', now, 'BYSCORE', 'LIMIT', 0, SWEEP_MAX)
end

-- Consumers and the controller call every second. Where nobody called for longer, nobody could (the
-- server was away, or its clock was set): that time is no consumer's silence.
local function pardon(base, now)
  local last = tonumber(redis.call('HGET', base .. ':counts', 'swept_ms')) or now
  redis.call('HSET', base .. ':counts', 'swept_ms', now)
  if now >= last and now - last < QUIET_MS then return end
  local known = redis.call('ZRANGE', base .. ':consumers', 0, -1)
  for _, consumer in ipairs(known) do
    redis.call('ZINCRBY', base .. ':consumers', now - last, consumer)
  end
end

local function sweep(base, now)
  pardon(base, now)
  for _, id in ipairs(due(base .. ':leases', now)) do orphan(base, read_job(base, id), 'lease_expired') end
  for _, id in ipairs(due(base .. ':deadlines', now)) do
    settle_for_consumer(base, read_job(base, id), 'expired', 'queue_limit', now)
  end
  local shared = due(base .. ':preferred', now)
  for _, id in ipairs(shared) do share(base, read_job(base, id)) end
  if #shared > 0 then ring_idle(base) end
  for _, consumer in ipairs(due(base .. ':consumers', now)) do
    local done = 0
    for _, id in ipairs(redis.call('SMEMBERS', base .. ':of:' .. consumer)) do
      local job = read_job(base, id)
      if job.durable ~= '1' and done < SWEEP_MAX then
        settle_for_consumer(base, job, 'failed', 'consumer_lost', now)
        done = done + 1
      end
    end
    if done < SWEEP_MAX then
      redis.call('ZREM', base .. ':consumers', consumer)
      if redis.call('EXISTS', base .. ':of:' .. consumer) == 1 then
        redis.call('SADD', base .. ':silent', consumer)
      end
    end
  end
end

-- Functions -------------------------------------------------------------------------------------

-- offer: id consumer spec cost prompt limit_ms tenant priority stage inbox not_after_ms durable max
--   -> state, or 'full' and after how many ms there may be room (-1: not known)
local function offer(keys, args)
  local base, id, now = keys[1], args[1], now_ms()
  local known = redis.call('HGET', job_key(base, id), 'state')
  if known then return { known, 0 } end
  local queued = tonumber(redis.call('HGET', base .. ':counts', 'queued') or '0')
  if queued >= tonumber(args[13]) then return { 'full', drain_ms(base, 1) or -1 } end
  local wait_ms = queued > 0 and drain_ms(base, queued + 1) or 0
  if wait_ms > tonumber(args[6]) then return { 'full', wait_ms - tonumber(args[6]) } end
  if queued == 0 then begin_busy(base, now) end
  local inbox, not_after = args[10], now + tonumber(args[11])
  if tonumber(args[11]) <= 0 then inbox = 'shared' end
  redis.call('HSET', job_key(base, id), 'state', 'queued', 'attempt', 1, 'nonce', '',
    'consumer', args[2], 'replica', '', 'cost_tokens', args[4], 'prompt_tokens', args[5],
    'limit_ms', args[6], 'tenant', args[7], 'priority', args[8], 'stage', args[9],
    'inbox', inbox, 'not_after_ms', not_after, 'durable', args[12],
    'accepted_ms', now, 'output_tokens', 0, 'reason', '')
  redis.call('SET', base .. ':spec:' .. id, args[3])
  redis.call('SADD', base .. ':of:' .. args[2], id)
  redis.call('ZADD', base .. ':consumers', 'NX', now + NEW_CONSUMER_MS, args[2])
  count(base, 'accepted', 1)
  count(base, 'accepted_prompt_tokens', args[5])
  count(base, 'queued', 1)
  queue_job(base, read_job(base, id), now)
  touch(base, now)
  return { 'queued', 0 }
end

-- reoffer: id consumer ended_attempt spec max_attempts -> next attempt, or 0
local function reoffer(keys, args)
  local base, now, ended = keys[1], now_ms(), tonumber(args[3])
  local job = read_job(base, args[1])
  if not job or FINAL[job.state] or job.consumer ~= args[2] then return 0 end
  if job.attempt == ended + 1 then return job.attempt end
  if job.attempt ~= ended or job.state == 'queued' then return 0 end
  if job.state ~= 'orphaned' then
    end_lease(base, job, true)
    set_state(base, job, 'orphaned')
  end
  -- That its gateway ended is not its fault; a job that ends its gateways is found out all the same.
  local forgiven = math.min(tonumber(job.adoptions or '0'), ADOPTIONS_FORGIVEN)
  if job.attempt - forgiven >= tonumber(args[5]) then
    settle(base, job, 'failed', 'max_attempts', job.output_tokens, false, now)
    redis.call('HSET', job_key(base, job.id), 'ended_ms', now)
    redis.call('EXPIRE', job_key(base, job.id), KEEP_DEAD_S)
    redis.call('LPUSH', base .. ':dead', job.id)
    redis.call('LTRIM', base .. ':dead', 0, DEAD_LETTERS - 1)
    return 0
  end
  redis.call('SREM', base .. ':orphans:' .. job.consumer, job.id)
  redis.call('SET', base .. ':spec:' .. job.id, args[4])
  job.attempt, job.inbox = ended + 1, 'shared'
  redis.call('HSET', job_key(base, job.id), 'attempt', job.attempt, 'inbox', 'shared')
  set_state(base, job, 'queued')
  queue_job(base, job, now)
  return job.attempt
end

-- settle: id consumer outcome reason output_tokens stop -> 1, or 0 where it had ended before. One
-- that is not there may still come, in an offer whose sender has given up: it has ended then.
local function settle_job(keys, args)
  local base = keys[1]
  local job = read_job(base, args[1])
  if not job then
    redis.call('HSET', job_key(base, args[1]), 'state', args[3], 'attempt', 0, 'reason', args[4])
    redis.call('EXPIRE', job_key(base, args[1]), KEEP_SETTLED_S)
    return 0
  end
  if FINAL[job.state] or job.consumer ~= args[2] then return 0 end
  settle(base, job, args[3], args[4], tonumber(args[5]), args[6] == '1', now_ms())
  return 1
end

-- attend: consumer ttl_ms count acknowledged... open...
--   -> orphans (id attempt durable)..., ended (id, text)..., open jobs that nobody knows
local function attend(keys, args)
  local base, consumer, now = keys[1], args[1], now_ms()
  redis.call('ZADD', base .. ':consumers', now + tonumber(args[2]), consumer)
  redis.call('SREM', base .. ':silent', consumer)
  local first_open = 4 + tonumber(args[3])
  for i = 4, first_open - 1 do redis.call('HDEL', base .. ':ended:' .. consumer, args[i]) end
  sweep(base, now)
  local unknown = {}
  for i = first_open, #args do
    if redis.call('EXISTS', job_key(base, args[i])) == 0 then unknown[#unknown + 1] = args[i] end
  end
  local orphans = {}
  for _, id in ipairs(redis.call('SMEMBERS', base .. ':orphans:' .. consumer)) do
    local found = redis.call('HMGET', job_key(base, id), 'attempt', 'durable')
    orphans[#orphans + 1] = { id, found[1], found[2] }
  end
  return { orphans, redis.call('HGETALL', base .. ':ended:' .. consumer), unknown }
end

-- lease: replica stage max_jobs max_tokens ttl_ms nonce -> (id attempt nonce consumer spec)...
local function lease(keys, args)
  local base, replica, stage, now = keys[1], args[1], args[2], now_ms()
  local max_jobs, room, until_ms = tonumber(args[3]), tonumber(args[4]), now + tonumber(args[5])
  sweep(base, now)
  local taken = {}
  while #taken < max_jobs do
    local id = head_job(base, stage, replica) or head_job(base, stage, 'shared')
    if not id then break end
    local job = read_job(base, id)
    if job.cost_tokens > room then break end
    unqueue_job(base, job)
    set_state(base, job, 'leased')
    charge(base, job.tenant, PROMPT_WEIGHT * job.prompt_tokens)
    redis.call('HSET', job_key(base, id), 'replica', replica, 'nonce', args[6])
    redis.call('ZADD', base .. ':leases', until_ms, id)
    redis.call('SADD', base .. ':held:' .. replica, id)
    room = room - job.cost_tokens
    taken[#taken + 1] = { id, job.attempt, args[6], job.consumer, redis.call('GET', base .. ':spec:' .. id) }
  end
  if #taken > 0 then note_taken(base, #taken, now) end
  if #taken == 0 and max_jobs > 0 then redis.call('SADD', base .. ':idle', replica) end
  return taken
end

local function holds(job, replica, attempt, nonce)
  return job and (job.state == 'leased' or job.state == 'streaming') and job.replica == replica
    and job.attempt == tonumber(attempt) and job.nonce == nonce
end

local function note_progress(base, job, output_tokens)
  if output_tokens <= job.output_tokens then return end
  charge(base, job.tenant, OUTPUT_WEIGHT * (output_tokens - job.output_tokens))
  job.output_tokens = output_tokens
  redis.call('HSET', job_key(base, job.id), 'output_tokens', output_tokens)
end

-- renew: replica ttl_ms (id attempt nonce output_tokens)... -> ids no longer held
local function renew(keys, args)
  local base, replica, now = keys[1], args[1], now_ms()
  sweep(base, now)
  local lost = {}
  for i = 3, #args, 4 do
    local job = read_job(base, args[i])
    if holds(job, replica, args[i + 1], args[i + 2]) then
      local before = job.output_tokens
      note_progress(base, job, tonumber(args[i + 3]))
      if job.state == 'leased' and job.output_tokens > before then set_state(base, job, 'streaming') end
      redis.call('ZADD', base .. ':leases', now + tonumber(args[2]), job.id)
    else
      lost[#lost + 1] = args[i]
    end
  end
  return lost
end

-- give_back: replica (id attempt nonce output_tokens)...
local function give_back(keys, args)
  local base, replica = keys[1], args[1]
  for i = 2, #args, 4 do
    local job = read_job(base, args[i])
    if holds(job, replica, args[i + 1], args[i + 2]) then
      note_progress(base, job, tonumber(args[i + 3]))
      orphan(base, job, 'given_back')
    end
  end
  return 1
end

-- drop_replica: replica -> number of leases ended
local function drop_replica(keys, args)
  local base, replica = keys[1], args[1]
  local held = redis.call('SMEMBERS', base .. ':held:' .. replica)
  for _, id in ipairs(held) do orphan(base, read_job(base, id), 'replica_gone') end
  for priority = 0, CLASSES - 1 do
    for _, stage in ipairs({ 'prefill', 'decode' }) do
      for _, id in ipairs(redis.call('ZRANGE', lane(base, 'heads', stage, replica, priority), 0, -1)) do
        share(base, read_job(base, id))
      end
    end
  end
  redis.call('SREM', base .. ':idle', replica)
  redis.call('DEL', base .. ':bell:' .. replica)
  ring_idle(base)
  return #held
end

-- adopt: id consumer claim -> state, attempt, reason (state '': the job is not known,
-- 'taken': a consumer with a newer claim has it)
local function adopt(keys, args)
  local base, id, consumer, claim = keys[1], args[1], args[2], tonumber(args[3])
  local job = read_job(base, id)
  if not job then return { '', 0, '' } end
  if FINAL[job.state] then return { job.state, job.attempt, job.reason } end
  local known = tonumber(redis.call('HGET', job_key(base, id), 'claim') or '0')
  if claim < known or (claim == known and job.consumer ~= consumer) then return { 'taken', 0, '' } end
  if claim > known then
    if job.state ~= 'queued' then redis.call('HINCRBY', job_key(base, id), 'adoptions', 1) end
    -- The replica speaks to the consumer before: what it says from now on is lost.
    if job.state == 'leased' or job.state == 'streaming' then
      end_lease(base, job, true)
      set_state(base, job, 'orphaned')
    end
    redis.call('SREM', base .. ':of:' .. job.consumer, id)
    redis.call('SREM', base .. ':orphans:' .. job.consumer, id)
    if redis.call('EXISTS', base .. ':of:' .. job.consumer) == 0 then
      redis.call('SREM', base .. ':silent', job.consumer)
    end
    redis.call('HSET', job_key(base, id), 'consumer', consumer, 'claim', claim)
    redis.call('SADD', base .. ':of:' .. consumer, id)
    if job.state == 'orphaned' then redis.call('SADD', base .. ':orphans:' .. consumer, id) end
    redis.call('ZADD', base .. ':consumers', 'NX', now_ms() + NEW_CONSUMER_MS, consumer)
  end
  return { job.state, job.attempt, '' }
end

-- abandon: reason -> number of jobs ended
local function abandon(keys, args)
  local base, now, ended = keys[1], now_ms(), 0
  local function end_jobs(consumer)
    for _, id in ipairs(redis.call('SMEMBERS', base .. ':of:' .. consumer)) do
      settle_for_consumer(base, read_job(base, id), 'failed', args[1], now)
      ended = ended + 1
    end
  end
  for _, consumer in ipairs(redis.call('ZRANGE', base .. ':consumers', 0, -1)) do end_jobs(consumer) end
  for _, consumer in ipairs(redis.call('SMEMBERS', base .. ':silent')) do end_jobs(consumer) end
  redis.call('DEL', base .. ':silent')
  return ended
end

-- dead: -> (id attempts tenant cause durable accepted_ms ended_ms)..., newest first
local function dead(keys)
  local base, letters = keys[1], {}
  for _, id in ipairs(redis.call('LRANGE', base .. ':dead', 0, -1)) do
    local found = redis.call('HMGET', job_key(base, id), 'attempt', 'tenant', 'cause', 'durable',
      'accepted_ms', 'ended_ms')
    if found[1] then
      letters[#letters + 1] = { id, found[1], found[2], found[3] or '', found[4], found[5], found[6] }
    end
  end
  return letters
end

-- forget_dead: id -> number of letters removed
local function forget_dead(keys, args) return redis.call('LREM', keys[1] .. ':dead', 0, args[1]) end

-- used -> epoch and counts (name, value)...
local function used(keys) return redis.call('HGETALL', keys[1] .. ':used') end

-- forget_used: hour -> number of counts of earlier hours removed
local function forget_used(keys, args)
  local key, gone = keys[1] .. ':used', 0
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local hour = tonumber(string.match(field, '^(%d+):'))
    if hour and hour < tonumber(args[1]) then gone = gone + redis.call('HDEL', key, field) end
  end
  return gone
end

local function sweep_now(keys) sweep(keys[1], now_ms()) return 1 end

-- signals -> counts (name, value)..., oldest wait in ms, idle time in ms (-1: never used), now in ms
local function signals(keys)
  local base, now = keys[1], now_ms()
  local oldest = redis.call('ZRANGE', base .. ':queued', 0, 0, 'WITHSCORES')
  local last = redis.call('HGET', base .. ':counts', 'last_ms')
  return { redis.call('HGETALL', base .. ':counts'),
    #oldest > 0 and now - tonumber(oldest[2]) or 0, last and now - tonumber(last) or -1, now }
end

-- recount: consumers... -> counts (name, value)..., what is there (name, value)...
-- For audits only: it reads every pending job. Consumers that the queue has forgotten are named by
-- the caller.
local function recount(keys, args)
  local base = keys[1]
  local found = { queued = 0, leased = 0, streaming = 0, orphaned = 0, owned = 0,
                  queued_prompt_tokens = 0 }
  for _, id in ipairs(redis.call('ZRANGE', base .. ':queued', 0, -1)) do
    found.queued = found.queued + 1
    local tokens = redis.call('HGET', job_key(base, id), 'prompt_tokens')
    found.queued_prompt_tokens = found.queued_prompt_tokens + tonumber(tokens or '0')
  end
  for _, id in ipairs(redis.call('ZRANGE', base .. ':leases', 0, -1)) do
    local state = redis.call('HGET', job_key(base, id), 'state')
    if state == 'leased' or state == 'streaming' then found[state] = found[state] + 1 end
  end
  local consumers = {}
  for _, consumer in ipairs(redis.call('ZRANGE', base .. ':consumers', 0, -1)) do
    consumers[consumer] = true
  end
  for _, consumer in ipairs(args) do consumers[consumer] = true end
  for consumer in pairs(consumers) do
    found.owned = found.owned + redis.call('SCARD', base .. ':of:' .. consumer)
    found.orphaned = found.orphaned + redis.call('SCARD', base .. ':orphans:' .. consumer)
  end
  local flat = {}
  for name, value in pairs(found) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  return { redis.call('HGETALL', base .. ':counts'), flat }
end

redis.register_function('NAME_offer', offer)
redis.register_function('NAME_reoffer', reoffer)
redis.register_function('NAME_settle', settle_job)
redis.register_function('NAME_adopt', adopt)
redis.register_function('NAME_attend', attend)
redis.register_function('NAME_lease', lease)
redis.register_function('NAME_renew', renew)
redis.register_function('NAME_give_back', give_back)
redis.register_function('NAME_drop_replica', drop_replica)
redis.register_function('NAME_abandon', abandon)
redis.register_function('NAME_dead', dead)
redis.register_function('NAME_forget_dead', forget_dead)
redis.register_function('NAME_used', used)
redis.register_function('NAME_forget_used', forget_used)
redis.register_function('NAME_sweep', sweep_now)
redis.register_function('NAME_signals', signals)
redis.register_function('NAME_recount', recount)
