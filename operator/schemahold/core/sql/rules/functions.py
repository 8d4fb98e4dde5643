"""Functions of Postgres itself, by what a rule may conclude from their names.

From the documentation's chapter on functions and operators, and checked against ``pg_proc`` of real servers in
``tests/database``.  A name that is missing here is taken for one that may do anything.
"""

from __future__ import annotations

_STABLE = """
    abs acos age array_append array_cat array_fill array_length array_lower array_position array_positions array_prepend
    array_remove array_replace array_to_json array_to_string array_upper ascii asin atan atan2 bit_length btrim
    cardinality cbrt ceil ceiling char_length character_length chr col_description concat concat_ws convert convert_from
    convert_to cos cot current_database current_schema current_schemas current_setting date_bin date_part date_trunc
    decode degrees div encode exp extract factorial floor format format_type gcd get_bit get_byte hashtext host hostmask
    inet_client_addr initcap isfinite json_array_elements json_array_elements_text json_array_length json_build_array
    json_build_object json_each json_each_text json_extract_path json_extract_path_text json_object json_object_keys
    json_populate_record json_populate_recordset json_strip_nulls json_to_record json_to_recordset json_typeof
    jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each
    jsonb_each_text jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys
    jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first
    jsonb_populate_record jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls
    jsonb_to_record jsonb_to_recordset jsonb_typeof justify_days justify_hours justify_interval lcm left length ln log
    log10 lower lpad ltrim make_date make_interval make_time make_timestamp make_timestamptz masklen md5 mod netmask
    network now num_nonnulls num_nulls numnode obj_description octet_length overlay parse_ident
    pg_backend_pid pg_column_size pg_get_constraintdef pg_get_expr pg_get_functiondef pg_get_indexdef
    pg_get_serial_sequence pg_get_triggerdef pg_get_userbyid pg_get_viewdef pg_has_role
    pg_postmaster_start_time pg_table_is_visible pg_typeof phraseto_tsquery pi plainto_tsquery position power
    quote_ident quote_literal quote_nullable radians regexp_count regexp_instr regexp_like regexp_match regexp_matches
    regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat replace reverse right round
    row_to_json rpad rtrim scale set_bit set_byte set_masklen setweight sha224 sha256 sha384 sha512 shobj_description
    sign sin split_part sqrt starts_with statement_timestamp string_to_array string_to_table strip strpos substr
    substring tan text to_ascii to_char to_date to_hex to_json to_jsonb to_number to_regclass to_regnamespace
    to_regproc to_regprocedure to_regrole to_regtype to_timestamp to_tsquery to_tsvector transaction_timestamp
    translate trim_array trim_scale trunc ts_headline ts_rank ts_rank_cd unistr unnest upper version
    websearch_to_tsquery width_bucket xmlcomment xpath xpath_exists generate_series generate_subscripts
    has_any_column_privilege has_column_privilege has_database_privilege has_function_privilege has_schema_privilege
    has_sequence_privilege has_table_privilege
"""

_READING = """
    any_value array_agg avg bit_and bit_or bool_and bool_or count cume_dist dense_rank every first_value json_agg
    json_object_agg jsonb_agg jsonb_object_agg lag last_value lead max min mode nth_value ntile percent_rank
    percentile_cont percentile_disc range_agg rank row_number stddev stddev_pop stddev_samp string_agg sum var_pop
    var_samp variance xmlagg
    clock_timestamp currval gen_random_uuid lastval nextval
    pg_database_size pg_indexes_size pg_is_in_recovery pg_notify pg_relation_size
    pg_size_pretty pg_table_size pg_total_relation_size random set_config setval timeofday uuidv4 uuidv7
"""

#: STABLE or IMMUTABLE in every version: as a default, evaluated once for all rows.
NOT_VOLATILE = frozenset(_STABLE.split())

#: What a SELECT may call without changing anything but sequences, settings and what the client sees.
HARMLESS = NOT_VOLATILE | frozenset(_READING.split())
