-- What a carrier is measured against: every carrier's flights by day and scheduled hour.
select
    carrier as other,
    day,
    sched_dep_time / 100 as hour,
    count(*) as flights,
    sum(case when arr_delay < 15 then 1 else 0 end) as on_time,
    count(dep_delay) as departed,
    coalesce(sum(dep_delay), 0) as minutes
from flights
where day >= :start and day < :end
group by carrier, day, sched_dep_time / 100
order by carrier, day, hour
