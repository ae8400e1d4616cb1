-- Three kinds of row for each destination: the month, its days, its routes. The query counts, the template shows.
-- On time: arrived less than 15 minutes late; a flight that was cancelled or diverted did not.
with flown as (
    select dest, day, carrier, origin, cancelled, arr_delay,
           case when arr_delay < 15 then 1.0 else 0.0 end as on_time
    from flights
    where day >= :start and day < :end
),
months as (
    select dest, count(*) as flights, sum(cancelled) as cancelled, avg(on_time) as on_time, avg(arr_delay) as delay,
           rank() over (order by avg(on_time) desc) as place,
           count(*) over () as places,
           sum(sum(on_time)) over () / sum(count(*)) over () as on_time_everywhere
    from flown
    group by dest
)
select 'month' as section, months.dest, replace(airports.name, '\', '') as name, null as day, null as airline, null as origin,
       flights, cancelled, on_time, delay, place, places, on_time_everywhere
from months
left join airports on airports.faa = months.dest
union all
select 'day', dest, null, day, null, null,
       count(*), sum(cancelled), avg(on_time), avg(arr_delay), null, null, null
from flown
group by dest, day
union all
select 'route', dest, null, null, airlines.name, origin,
       count(*), sum(cancelled), avg(on_time), avg(arr_delay), null, null, null
from flown
join airlines on airlines.carrier = flown.carrier
group by dest, airlines.name, origin
order by 2, 1, 4, 7 desc
