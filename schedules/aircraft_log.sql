select
    flights.tailnum,
    day,
    substr(cast(10000 + sched_dep_time as text), 2, 2) || ':' || substr(cast(10000 + sched_dep_time as text), 4, 2)
        as departure,
    carrier || ' ' || flight as flight,
    origin,
    dest,
    dep_delay,
    arr_delay,
    case when cancelled = 1 then 'cancelled' when arr_delay is null then 'diverted' end as remark,
    manufacturer,
    model,
    seats,
    year
from flights
left join planes on planes.tailnum = flights.tailnum      -- one aircraft in six is not in the register
where day >= :start and day < :end
  and :airport in (origin, 'all')
order by flights.tailnum, day, sched_dep_time
