//! What limits keep and what the cache gives is the same wherever it is kept: the scenarios of both, which run on memory where they
//! are written, here on a real Redis.

use super::support::{Redis, sharing};

/// The scenarios of a module, on Redis.
macro_rules! on_redis {
    ($module:ident { $($scenario:ident,)* } but { $($other:ident: $why:literal,)* }) => {
        mod $module {
            $(
                #[test]
                fn $scenario() {
                    let Some(redis) = super::Redis::start() else { return };
                    super::sharing(&redis.url(), super::super::$module::$scenario);
                }
            )*

            /// One that isn't named here would be played on memory alone.
            #[test]
            fn all_are_played() {
                let written = include_str!(concat!(stringify!($module), ".rs")).matches("#[test]").count();
                let others: &[(&str, &str)] = &[$((stringify!($other), $why)),*];
                assert_eq!([$(stringify!($scenario)),*].len() + others.len(), written);
            }
        }
    };
}

on_redis! {
    limits {
        the_headers_say_what_is_left,
        tokens_are_taken_by_estimate_and_settled_by_usage,
        what_failed_cost_nothing_but_the_request,
        a_model_without_a_price_is_refused_to_a_budget,
        an_unpriced_target_of_the_chain_is_left_out,
        a_reload_keeps_what_was_used,
        a_caller_who_leaves_a_stream_has_used_what_came,
        a_stream_is_not_gone_on_with_beyond_the_budget,
        a_key_without_limits_knows_none,
        row_63_a_thousand_at_once_never_spend_more_than_the_budget,
        row_64_a_thousand_at_once_have_their_requests_a_minute,
        a_thousand_at_once_are_no_more_than_may_be_at_once,
    } but {}
}

on_redis! {
    cache {
        the_same_request_gets_the_stored_answer_and_it_costs_nothing,
        a_whole_stream_is_replayed_to_who_asks_for_one_in_the_same_form,
        off_there_is_no_cache_and_a_request_may_ask_for_it,
        each_request_may_keep_out_or_ask_anew,
        models_have_their_own_terms,
        row_71_two_keys_never_share_an_entry,
        row_71_what_is_not_whole_and_good_is_never_kept,
        row_71_a_thousand_identical_cold_misses_make_one_call,
        without_coalescing_each_makes_its_own_call,
        who_joins_a_stream_gets_the_words_so_far_and_then_the_rest,
        a_shared_call_goes_on_while_anybody_waits_for_it,
        a_plain_call_whose_first_caller_leaves_is_the_others,
        where_the_first_fails_one_of_the_others_asks_and_not_all,
        row_70_a_name_stands_for_one_request,
        row_70_what_failed_or_was_left_may_be_asked_again_and_streams_have_no_names,
        a_stored_answer_says_that_it_cost_nothing_where_usage_tells_costs,
        the_ledger_says_what_the_cache_had_to_do_with_a_request_and_the_rows_add_up,
        a_reload_keeps_what_is_stored_and_obeys_the_new_terms,
    } but {
        another_bound_is_another_store: "Redis has a bound of its own: what lies there stays, whatever `cache.max` says",
    }
}
