select
    day,
    count(*) as flights,
    sum(case when dep_delay >= 15 then 1 else 0 end) as late,
    sum(cancelled) as cancelled,
    avg(case when origin = 'EWR' then dep_delay end) as newark,
    avg(case when origin = 'JFK' then dep_delay end) as kennedy,
    avg(case when origin = 'LGA' then dep_delay end) as laguardia
from flights
where day >= :start and day < :end
group by day
order by day
